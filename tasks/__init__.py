"""The steps of the pipeline: plain functions over frozen records, without Prefect."""
