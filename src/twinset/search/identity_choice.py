"""How an index tells identities apart, chosen on references that are left out in turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinset.errors import StoreError
from twinset.metrics.fusion import fit_posterior
from twinset.metrics.measure import RULES
from twinset.metrics.open_set import choose_rule
from twinset.metrics.pairs import choose_threshold, curve_of_pairs, parse_rule
from twinset.metrics.trials import leave_out
from twinset.models.embedder import Embedder
from twinset.search.gallery import Gallery
from twinset.search.identification import IdentitySettings

# Strangers who may be taken for somebody where no identity has a reference to be found by.
STRANGERS = 0.05


def choose_settings(
    galleries: Sequence[Gallery],
    column: str,
    models: Sequence[Embedder],
    together: int = 1,
    strangers: float | None = None,
) -> IdentitySettings:
    """Choose by which rule, threshold and weights identities are told apart."""
    first, model = galleries[0], models[0]
    if not first.names:
        raise StoreError(f"Expected items with a value of {column!r}. Received none.")
    m, n = len(first.names), len(first.codes)
    choices = [
        choose_rule(each.matrix.vectors, each.codes, together=together) for each in galleries
    ]
    about = column, choices[0].chosen, choices[0].reason
    if not choices[0].rows:
        if len(models) > 1:
            raise StoreError(
                "Expected identities with several references, by which two models can be weighed. "
                f"Received {n:,} references of {m:,} identities."
            )
        limit, rule, fpir = _for_strangers(first, model, strangers)
        known = model.calibrator  # of pairs; an identity is as likely as its share
        slope = None if known is None else known.slope
        start = None if known is None else known.intercept - float(np.log(m))
        found = (*about, limit, rule, n, m, model.digest, slope, start, fpir)
        return IdentitySettings(*found, strangers=strangers)
    trials = [
        leave_out(gallery.matrix.vectors, gallery.codes, choice.chosen, together=together)
        for gallery, choice in zip(galleries, choices, strict=True)
    ]
    shares, weight = fit_posterior(trials)
    own = np.einsum("k,kp->p", shares, [each.own[each.known] for each in trials])
    rival = np.einsum("k,kpm->pm", shares, [each.others for each in trials]).min(axis=1)
    same = np.repeat([True, False], [len(own), len(rival)])
    rule = _rule(model, strangers)
    limit = choose_threshold(curve_of_pairs(np.concatenate([own, rival]), same), rule).value
    size = f" of {together:,} images" if together > 1 else ""
    missed = (own > limit) | (own >= rival[trials[0].known])
    return IdentitySettings(
        *about,
        limit,
        f"{rule.replace('FPR', 'FPIR')} on {len(rival):,} queries{size} left out",
        n,
        m,
        model.digest,
        weight.slope,
        weight.intercept,
        float((rival <= limit).mean()),
        float(missed.mean()),
        *((models[1].digest, choices[1].chosen) if len(models) > 1 else ("", "")),
        float(shares[0]),
        together,
        strangers,
    )


def _for_strangers(
    gallery: Gallery, model: Embedder, strangers: float | None
) -> tuple[float, str, float | None]:
    # Nothing can be left out to be found, but each reference can be looked for as a stranger. The
    # more there are, the nearer is the nearest, and the threshold for pairs calls all somebody.
    pairs = model.threshold
    if len(gallery.names) < 2:
        return pairs.value, f"the model's, for pairs: {pairs.origin}", None
    rival = np.sort(leave_out(gallery.matrix.vectors, gallery.codes, "nearest").rival)
    wanted = parse_rule(_rule(model, strangers))
    share = wanted.limit if wanted.kind == "FPR" else STRANGERS
    limit = float(np.nextafter(rival[int(share * len(rival))], 0))
    rule = f"FPIR <= {share:g} on {len(rival):,} references looked for without their own identity"
    if strangers is None and pairs.value <= limit:
        limit, rule = pairs.value, f"the model's, for pairs: {pairs.origin}"
    return limit, rule, float((rival <= limit).mean())


def _rule(model: Embedder, strangers: float | None) -> str:
    if strangers is not None:
        return f"FPR <= {strangers:g}"
    # the model's own, as what its owner wants of pairs is wanted of strangers, too
    return parse_rule(model.threshold.rule).name if model.threshold.calibrated else RULES[0]
