# Models as an image, for clusters that cannot fetch them. Where the Internet is:
#
#   CALLSCRIBE_MODELS__FOLDER=bundles HF_TOKEN=… callscribe models pull production
#   docker build -f k8s/models.Dockerfile --build-arg CALLSCRIBE_IMAGE=REGISTRY/callscribe@sha256:… -t callscribe-models bundles
#
# The overlay air-gapped copies a bundle from it into the model cache.
ARG CALLSCRIBE_IMAGE=callscribe
FROM ${CALLSCRIBE_IMAGE}
COPY --chown=10001:10001 . /bundles
USER 10001:10001
HEALTHCHECK NONE
