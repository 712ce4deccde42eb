"""Cone attention, trained and untrained, beside the cascade: where the 10 nearest points lie."""

import time

import jax
import numpy as np

from benchmarks.report import Check, markdown_table, say
from benchmarks.retrieval_sets import Asked
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.retrieval.attention import ConeAttention, ConeMap, look_where, train_attention
from sphere_ebm.retrieval.recall import found_share

SHARE = 0.05
STEPS = 300


def attention_section(asked: Asked) -> tuple[str, list[Check]]:
    """Recall of the exact top 10 at 5 % of points, for queries of unseen documents."""
    assert asked.training is not None
    world = ConeMap(asked.placement)
    model = ConeAttention.build(jax.random.key(0), asked.unit.shape[1])
    truth = exact_neighbours(asked.unit, asked.training, asked.truth.shape[1])
    begun = time.process_time()
    trained, losses = train_attention(model, world, asked.training, truth, steps=STEPS)
    spent = time.process_time() - begun
    say(f"{asked.name}: attention trained, loss {losses[:10].mean():.2f} {losses[-10:].mean():.2f}")
    count = round(SHARE * len(asked))
    works = np.linspace(0.05, 0.25, 200)
    returned = np.array([world.cascade.plan(float(work)).returned for work in works])
    enough = float(works[np.argmax(returned >= count)])
    wide = world.cascade.find(asked.queries, work=enough)
    spare = world.cascade.find(asked.queries, work=SHARE)
    found = {
        "cone attention, untrained": look_where(model, world, asked.queries, share=SHARE),
        "cone attention, trained": look_where(trained, world, asked.queries, share=SHARE),
        f"cascade that returns 5 % (work {wide.work.mean():.1%})": wide.points[:, :count],
        "cascade of work 5 %": spare.points,
    }
    shares = {
        name: float(found_share(asked.truth, points).mean()) for name, points in found.items()
    }
    rows = [[name, f"{share:.3f}"] for name, share in shares.items()]
    rows.append(["top-k by similarity to all points", "1 by definition"])
    table = markdown_table(["where to look", "recall@10"], rows)
    apertures = ", ".join(
        f"{float(scale.aperture.mean()):.2f}" for scale in (trained.fine, trained.coarse)
    )
    text = (
        f"{table}\n\nTrained for {STEPS} steps on {len(asked.training)} patches of documents that"
        f" are neither on the map nor asked, {spent:.0f} processor seconds; mean apertures after"
        f" it: {apertures}."
    )
    gain = shares["cone attention, trained"] - shares["cone attention, untrained"]
    lead = shares["cone attention, trained"] - max(list(shares.values())[2:])
    return text, [
        Check("cone attention: trained less untrained", gain, ">=", 0),
        Check("cone attention: trained less the cascade", lead, ">=", 0),
    ]
