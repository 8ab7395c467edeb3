"""A fake Kubernetes cluster in which a pod is a local process, and a harness that puts a real Prefect on it.

What is real: the Prefect server, the worker and observer of prefect-kubernetes, the flow engine, the processes of a
pod. What is a fake of ours: the Kubernetes API server, scheduler, job controller and kubelet. It runs on one machine,
without containers, for tests only.

    with (
        PrefectServer(folder / "server") as server,             # or the session's: a fixture, on PostgreSQL
        Cluster(folder / "cluster", [Node("gpu-a", gpus=1)]) as cluster,
        PrefectStack(server, cluster, folder / "stack") as stack,
    ):
        server.create_pool("callscribe-gpu", with_defaults(template, image="any"), concurrency_limit=2)
        deployment = server.deploy("transcribe-job", "gpu", "cluster_job.py:transcribe_job", TESTS, "callscribe-gpu")
        stack.start_worker("callscribe-gpu")
        run = server.start_run(deployment, parameters={...}, job_variables={"excluded_nodes": ["gpu-a"]})
        pod = cluster.pod(stack.of_run(run))                    # waits until it runs
        cluster.evict(pod)                                      # or another fault
        stack.await_state(run, "Completed")

Every wait is for something that happens, with four minutes of patience; nothing sleeps. Mark such tests
`@pytest.mark.long` and `@pytest.mark.timeout(1200)`: the server's start takes 17 s of a processor, a worker's 5 s, and
each flow run some 12 s, most of it imports. So the server is one for the session, and the worker one for a module.

The cluster: `Cluster` (`cluster.py`)
- `nodes`, `url`, `kubeconfig` (a file for KUBECONFIG), `calls` (all requests, in the words of RBAC).
- `jobs(labels)`, `pods(labels)`, `objects(plural, labels)`; `create(plural, object)` for secrets (`data` in base64) and
  config maps; `pod(labels, phase)` waits for a pod; `until(look)` waits for anything and returns it.
- `log(pod)`, `logs()` (of all pods, also those that are gone), `processes(pod)` (pid → command line: the first is
  `prefect flow-run execute`, and `python -m prefect.engine`, in a session of its own, the flow).

Faults
- `kill_pod(pod, reason="OOMKilled")`: SIGKILL to all of it, exit code 137.
- `evict(pod, grace_s, pressure=False)`: SIGTERM to the first process, grace time, SIGKILL; condition DisruptionTarget.
- `delete_pod(pod)`; `expire(job)` (what the time to live does: Job and pods are deleted, pods with their grace time);
  `vanish(job)` (Job, pods and processes are gone at once: what a worker that was down never sees).
- `away()`: a block without an API server. `forget_changes()`: watches get 410. `cordon(node)`, `set_gpus(node, n)`.
- `faults.fail_creations(times, status)`, `faults.hold_creations("before" | "after")` with `faults.held_creations()`,
  `faults.break_gpu(node)` and `mend_gpu`, `faults.unpullable_images()`, `faults.clear()`.
- `stack.stop_worker(pool, kill=True)`, and `start_worker(pool)` again; `server.cancel(run)`.

Prefect: `PrefectServer` (`prefect_server.py`) makes pools, deployments and runs, and reads states, logs and slots
(`taking_slots(pool)`, `deployment_slots(deployment)`); `call(method, path, body)` asks the API for anything else.
`PrefectStack` (`stack.py`) has the workers; `environment(name)` is for processes of one's own that use both.
`postgres_server()` (`postgres.py`, fixture `prefect_server_on_postgres`) is for tests that write concurrently.

What a local process cannot have
- No mounts: a mount path is replaced by its folder where it begins a path in the command, arguments, variables, working
  folder and probes: `/scratch` (emptyDir) by a folder of the pod's own, `/models` (a claim or host path) by the one in
  `Cluster(volumes={"<claim or host path>": folder})`. `/tmp` is not replaced, as the tests' own files lie there; it
  sets TMPDIR. Nothing is read-only.
- No image: `image_environment` brings what the image would (by default this Python's programs on the PATH), and there
  is no entrypoint: a pod must have a command or arguments.
- No GPU: `Node(gpu_environment={"CALLSCRIBE_MODELS__DEVICE": "cpu"})` wins over the pod's own variables on a node whose
  GPUs work; `faults.break_gpu` takes it away, and the device gate fails for real.
- No limits of CPU and memory, no users, no network policies, no tokens, no authorisation.
- A pod's first process that has no handler dies of SIGTERM; as number 1 of a container it would live on.
- A process that clears its environment escapes the end of its pod: they are found by a marker in it.

What it does not know (status 501): Jobs of several pods, several containers, restarts of containers, probes that are
not exec, other kinds of volumes. It refuses much of what Kubernetes refuses (`validation.py`), not all.
"""
