"""Where a run's data are loaded: on a node that trains."""

from orchestrator.distributed import sharing


def ids(name):
    """As Ray's are."""
    return name.encode().hex().ljust(56, "0")


def node(name, *, alive=True, **resources):
    return {"NodeID": ids(name), "Alive": alive, "Resources": resources}


HEAD = node("head", memory=8e9, object_store_memory=4e8)
SMALL = node("small", CPU=4.0, object_store_memory=1e9)
LARGE = node("large", CPU=16.0, object_store_memory=9e9)
GPU = node("gpu", CPU=8.0, GPU=1.0, object_store_memory=5e9)
GONE = node("gone", alive=False, CPU=64.0, GPU=8.0, object_store_memory=9e10)


def test_data_are_loaded_where_trials_read_them(monkeypatch):
    for nodes, where, least in (
        ([HEAD, SMALL, LARGE, GONE], "large", 1e9),
        ([HEAD, LARGE, GPU], "gpu", 5e9),  # a head or a node of CPUs alone trains nothing there
        ([HEAD], "head", 4e8),  # whose workers are still to come
    ):
        monkeypatch.setattr("ray.nodes", lambda nodes=nodes: nodes)
        assert sharing._on_a_training_node().node_id == ids(where)
        assert sharing.shared_memory() == least
