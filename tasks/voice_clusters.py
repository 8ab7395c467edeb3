"""Pure: which turns have one voice, and how many voices there are.

Turns are clustered by average linkage on cosine distance. How many speakers there are, the silhouette decides
(Rousseeuw, "Silhouettes: a graphical aid", 1987): whether turns are nearer to those of their own cluster than to those
of the nearest other one, and by how much, for which no distance between voices has to be known beforehand. Only who
talks for long enough counts: so a cough, or a "yes" in another tone, does not become a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Voices = NDArray[np.floating]
"""Unit vectors, `[turn, dimension]`."""
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What decides on voices, as it was found for those of the GE2E encoder (evaluation/benchmarks/voice_bounds.py).

    Attributes:
        plain_turn_s: a voice is told from turns of at least so many seconds.
        least_talk_s: a speaker talks for so many seconds.
        own_distance: nine of ten pairs of turns of one speaker are no farther apart (cosine distance, on a telephone
            line); what is alone in its cluster is taken to be so far from its own.
        least_silhouette: two clusters or more are as many speakers, rather than one, where the mean silhouette is at
            least this.
    """

    plain_turn_s: float = 1.2
    least_talk_s: float = 2.0
    own_distance: float = 0.25
    least_silhouette: float = 0.3


DEFAULT_BOUNDS = Bounds()


def cluster_voices(
    voices: Voices, seconds: NDArray[np.floating], fewest: int, most: int, bounds: Bounds = DEFAULT_BOUNDS
) -> Labels:
    """Find the speaker of every turn.

    Args:
        voices: of the turns.
        seconds: of talk in each turn.
        fewest: speakers; fewer are found only where there is not enough speech for them.
        most: speakers.
        bounds: the least silhouette counts where `fewest` is 1.

    Returns:
        `[turn]`, 0, 1, … by first turn.
    """
    plain = np.flatnonzero(seconds >= bounds.plain_turn_s)
    if len(plain) < 2:
        plain = np.arange(len(voices))
    found = _count(voices[plain], seconds[plain], fewest, most, bounds)
    centroids = np.stack([_centroid(voices[plain], seconds[plain], found == label) for label in range(found.max() + 1)])
    labels: Labels = np.argmax(voices @ centroids.T, axis=1)
    labels[plain] = found
    return _in_order(labels)


def silhouettes(distances: NDArray[np.floating], labels: Labels, alone: float) -> NDArray[np.float64]:
    """The silhouette of every item, -1 to 1: how much nearer its own cluster is than the nearest other one.

    What is alone in its cluster has no distance to its own; by the book its silhouette is 0, which would leave two
    turns of two people one speaker's.

    Args:
        distances: `[item, item]`.
        labels: `[item]`, 0, 1, …, of two clusters at least.
        alone: how far from its own what is alone in its cluster is taken to be.
    """
    members = labels[:, None] == np.arange(labels.max() + 1)  # [item, cluster]
    sums, sizes = distances @ members, members.sum(axis=0)
    size = sizes[labels]
    own = np.where(size > 1, sums[members] / np.maximum(size - 1, 1), alone)
    other = np.where(members, np.inf, sums / sizes).min(axis=1)
    values: NDArray[np.float64] = (other - own) / np.maximum(np.maximum(own, other), 1e-9)
    return values


def _count(voices: Voices, seconds: NDArray[np.floating], fewest: int, most: int, bounds: Bounds) -> Labels:
    """Labels of plain turns."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    one = np.zeros(len(voices), dtype=np.int64)
    if len(voices) < 2 or most < 2:
        return one
    distances = np.clip(1 - voices @ voices.T, 0, 2)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    ways = {
        count: labels
        for count in range(2, most + 1)
        if (labels := _cut(tree, voices, seconds, count, bounds.least_talk_s)) is not None
    }
    if not ways:
        return one
    scores = {
        count: float(np.average(silhouettes(distances, labels, bounds.own_distance), weights=seconds))
        for count, labels in ways.items()
    }
    allowed = [count for count in ways if count >= fewest] or [max(ways)]
    best = max(allowed, key=lambda count: scores[count])
    return ways[best] if fewest > 1 or scores[best] >= bounds.least_silhouette else one


def _cut(
    tree: NDArray[np.float64], voices: Voices, seconds: NDArray[np.floating], count: int, least_talk_s: float
) -> Labels | None:
    """The tree cut into so many clusters that talk for long enough, or None where there are not so many.

    Turns of smaller clusters go to the nearest of these.
    """
    from scipy.cluster.hierarchy import fcluster

    for clusters in range(count, len(voices) + 1):
        labels = fcluster(tree, clusters, "maxclust")
        large = np.flatnonzero(np.bincount(labels, seconds) >= least_talk_s)
        if len(large) == count:
            centroids = np.stack([_centroid(voices, seconds, labels == label) for label in large])
            nearest = np.argmax(voices @ centroids.T, axis=1)
            found: Labels = np.where(np.isin(labels, large), np.searchsorted(large, labels), nearest).astype(np.int64)
            return found
        if len(large) > count:
            return None
    return None


def _centroid(voices: Voices, seconds: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.floating]:
    total: NDArray[np.floating] = (voices[chosen] * seconds[chosen, None]).sum(axis=0)
    return total / max(float(np.linalg.norm(total)), 1e-9)


def _in_order(labels: Labels) -> Labels:
    """Labels renamed by their first turn."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
