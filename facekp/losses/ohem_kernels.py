# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Triton kernels of `facekp.losses.ohem_triton`, which describes their tables and buffers.

Those that upsample work on tiles of `ROWS` rows by `CELLS * STEP` columns: a run of rows between the same two rows of
scores, and `CELLS` runs of columns. A thread reads four scores of a class for all pixels of its column.
"""

import triton
import triton.language as tl


@triton.jit
def upsample_and_lose(
    scores, labels, losses, logs, counts, row_runs, row_weights, column_runs, column_weights, n_row_runs, n_column_runs,
    height, width, classes, score_n, score_c, score_h, score_w, label_n, label_h, label_w, ignore_index, cut,
    ROWS: tl.constexpr, CELLS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Write losses and log-sum-exps (N, H, W), and count the hard and the valid pixels."""
    n = tl.program_id(2).to(tl.int64)
    y, row_in, top, bottom, to_bottom = _rows(row_runs, row_weights, n_row_runs, ROWS)
    x, column_in, left, right, to_right = _columns(column_runs, column_weights, n_column_runs, CELLS, STEP)
    inside = row_in[:, None] & column_in[None, :]
    label = tl.load(
        labels + n * label_n + y.to(tl.int64)[:, None] * label_h + x.to(tl.int64)[None, :] * label_w,
        mask=inside,
        other=ignore_index,
    )
    valid = inside & (label != ignore_index)
    target = label.to(tl.int32)
    above, below = scores + n * score_n + top * score_h, scores + n * score_n + bottom * score_h
    p00, p01 = above + left * score_w, above + right * score_w
    p10, p11 = below + left * score_w, below + right * score_w
    largest = tl.full((ROWS, CELLS * STEP), float("-inf"), tl.float32)
    total = tl.zeros((ROWS, CELLS * STEP), tl.float32)
    own = tl.full((ROWS, CELLS * STEP), float("nan"), tl.float32)  # stays so if a label is no class
    for c in range(classes):
        up = _interpolate(p00, p01, p10, p11, column_in, to_right, to_bottom)
        more = up - largest
        small = tl.exp(-tl.abs(more))
        total = tl.where(more > 0, total * small + 1, total + small)  # relative to the largest score so far
        largest = tl.maximum(largest, up)
        own = tl.where(target == c, up, own)
        p00 += score_c
        p01 += score_c
        p10 += score_c
        p11 += score_c
    log_total = tl.log(total)
    loss = tl.where(valid, (largest - own) + log_total, -1.0)
    pixel = (n * height + y)[:, None] * width + x[None, :]
    tl.store(losses + pixel, loss, mask=inside)
    tl.store(logs + pixel, largest + log_total, mask=inside)
    hard = valid & (loss > cut)
    tl.atomic_add(counts, tl.sum(tl.sum(hard.to(tl.int32), 1), 0))
    tl.atomic_add(counts + 1, tl.sum(tl.sum(valid.to(tl.int32), 1), 0))


@triton.jit
def count_digits(
    losses, counts, histograms, elements, MIN_KEPT: tl.constexpr, DIGIT: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Count the values of one digit, among the losses whose higher digits are those of the `n_min`-th largest."""
    n_hard, n_min = _numbers(counts, MIN_KEPT)
    if n_hard < n_min:
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        loss = tl.load(losses + i, mask=i < elements, other=-1.0)
        bits = loss.to(tl.int32, bitcast=True)  # in the order of the losses, as none is negative
        counted = loss >= 0
        shift: tl.constexpr = 24 - 8 * DIGIT
        if DIGIT > 0:
            prefix, _, _ = _nth_largest(histograms, n_min, DIGIT)
            counted = counted & ((bits >> (shift + 8)) == prefix)
        found = tl.histogram((bits >> shift) & 255, 256, mask=counted)
        tl.atomic_add(histograms + DIGIT * 256 + tl.arange(0, 256), found, mask=found > 0)


@triton.jit
def weigh(losses, counts, histograms, plan, totals, elements, cut, MIN_KEPT: tl.constexpr, BLOCK: tl.constexpr):
    """Write every block's sum of weighted losses, and the plan: a cut, the weight above it, the weight of equals."""
    n_hard, n_min = _numbers(counts, MIN_KEPT)
    enough = n_hard >= n_min
    bits, left, ties = _nth_largest(histograms, n_min, 4)
    cut_now = tl.where(enough, cut, bits.to(tl.float32, bitcast=True))
    above = 1 / tl.where(enough, n_hard, n_min).to(tl.float64)
    equal = tl.where(enough, 0.0, left.to(tl.float64) / tl.maximum(ties, 1).to(tl.float64) * above)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    loss = tl.load(losses + i, mask=i < elements, other=-1.0)
    weight = tl.where(loss > cut_now, above, tl.where(loss == cut_now, equal, 0.0))
    tl.store(totals + tl.program_id(0), tl.sum(loss.to(tl.float64) * weight, 0))
    if tl.program_id(0) == 0:
        tl.store(plan, cut_now)
        tl.store(plan + 1, above.to(tl.float32))
        tl.store(plan + 2, equal.to(tl.float32))


@triton.jit
def corner_gradients(
    scores, labels, losses, logs, plan, corners, row_runs, row_weights, column_runs, column_weights, n_row_runs,
    n_column_runs, height, width, classes, score_n, score_c, score_h, score_w, label_n, label_h, label_w,
    ROWS: tl.constexpr, CELLS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Add up, over the pixels of every pair of runs, the gradient with respect to their four scores.

    `corners` is (N, C, row runs, 2, 2, column runs) and zero before.
    """
    n = tl.program_id(2).to(tl.int64)
    y, row_in, top, bottom, to_bottom = _rows(row_runs, row_weights, n_row_runs, ROWS)
    x, column_in, left, right, to_right = _columns(column_runs, column_weights, n_column_runs, CELLS, STEP)
    inside = row_in[:, None] & column_in[None, :]
    pixel = (n * height + y)[:, None] * width + x[None, :]
    loss = tl.load(losses + pixel, mask=inside, other=-1.0)
    cut, weight_above, weight_equal = tl.load(plan), tl.load(plan + 1), tl.load(plan + 2)
    weight = tl.where(loss > cut, weight_above, tl.where(loss == cut, weight_equal, 0.0))
    weight = tl.where(loss == loss, weight, loss)  # a loss that is no number spoils the gradient, as it should
    if tl.max(tl.max((weight != 0).to(tl.int32), 1), 0) > 0:
        label = tl.load(
            labels + n * label_n + y.to(tl.int64)[:, None] * label_h + x.to(tl.int64)[None, :] * label_w,
            mask=inside,
            other=-1,
        )
        target = label.to(tl.int32)
        log_total = tl.load(logs + pixel, mask=inside, other=float("inf"))  # so that exp() is 0 outside
        # Cross entropy's gradient is softmax - 1 at the true class, expm1(-loss), and softmax at the others.
        series = -loss * (1 - loss * (1 / 2) * (1 - loss * (1 / 3) * (1 - loss * (1 / 4) * (1 - loss * (1 / 5)))))
        own = tl.where(loss < 0.125, series, tl.exp(-loss) - 1) * weight
        above, below = scores + n * score_n + top * score_h, scores + n * score_n + bottom * score_h
        p00, p01 = above + left * score_w, above + right * score_w
        p10, p11 = below + left * score_w, below + right * score_w
        run = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
        out = corners + (n * classes * n_row_runs + tl.program_id(1)) * 4 * n_column_runs + run
        for c in range(classes):
            up = _interpolate(p00, p01, p10, p11, column_in, to_right, to_bottom)
            slope = tl.where(target == c, own, tl.exp(up - log_total) * weight)
            upper = tl.sum(slope * (1 - to_bottom)[:, None], 0)
            lower = tl.sum(slope * to_bottom[:, None], 0)
            known = run < n_column_runs
            tl.store(out, _by_run(upper * (1 - to_right), CELLS, STEP), mask=known)
            tl.store(out + n_column_runs, _by_run(upper * to_right, CELLS, STEP), mask=known)
            tl.store(out + 2 * n_column_runs, _by_run(lower * (1 - to_right), CELLS, STEP), mask=known)
            tl.store(out + 3 * n_column_runs, _by_run(lower * to_right, CELLS, STEP), mask=known)
            out += n_row_runs * 4 * n_column_runs
            p00 += score_c
            p01 += score_c
            p10 += score_c
            p11 += score_c


@triton.jit
def add_corners(
    corners, grad, row_spans, column_spans, n_row_runs, n_column_runs, most_rows, most_columns, classes, h, w,
    grad_n, grad_c, grad_h, grad_w, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up, for every score, what the runs beside it gave: rows `row_spans` (2, 2, h), columns likewise."""
    plane = tl.program_id(0)
    cell = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    known = cell < h * w
    i, j = cell // w, cell % w
    source = corners + plane.to(tl.int64) * n_row_runs * 4 * n_column_runs
    total = tl.zeros((BLOCK,), tl.float32)
    for a in tl.static_range(2):
        row = tl.load(row_spans + 2 * a * h + i, mask=known, other=0)
        row_end = tl.load(row_spans + (2 * a + 1) * h + i, mask=known, other=0)
        for b in tl.static_range(2):
            column = tl.load(column_spans + 2 * b * w + j, mask=known, other=0)
            column_end = tl.load(column_spans + (2 * b + 1) * w + j, mask=known, other=0)
            for r in range(most_rows):
                for k in range(most_columns):
                    at = ((row + r) * 4 + 2 * a + b) * n_column_runs + column + k
                    near = (row + r < row_end) & (column + k < column_end)
                    total += tl.load(source + at, mask=near, other=0.0)
    n, c = (plane // classes).to(tl.int64), plane % classes
    tl.store(grad + n * grad_n + c * grad_c + i * grad_h + j * grad_w, total, mask=known)


@triton.jit
def _rows(runs, weights, n_runs, ROWS: tl.constexpr):
    """Return the rows of this program's run, which of them it has, its two rows of scores, and the second's weight."""
    run = tl.program_id(1)
    k = tl.arange(0, ROWS)
    y = tl.load(runs + run) + k
    inside = k < tl.load(runs + n_runs + run)
    weight = tl.load(weights + y, mask=inside, other=0.0)
    return y, inside, tl.load(runs + 2 * n_runs + run), tl.load(runs + 3 * n_runs + run), weight


@triton.jit
def _columns(runs, weights, n_runs, CELLS: tl.constexpr, STEP: tl.constexpr):
    """Return the same for the columns of `CELLS` runs, of `STEP` each."""
    t = tl.arange(0, CELLS * STEP)
    k = t % STEP
    run = tl.program_id(0) * CELLS + t // STEP
    known = run < n_runs
    x = tl.load(runs + run, mask=known, other=0) + k
    inside = k < tl.load(runs + n_runs + run, mask=known, other=0)
    left = tl.load(runs + 2 * n_runs + run, mask=known, other=0)
    right = tl.load(runs + 3 * n_runs + run, mask=known, other=0)
    weight = tl.load(weights + x, mask=inside, other=0.0)
    return x, inside, left, right, weight


@triton.jit
def _interpolate(p00, p01, p10, p11, column_in, to_right, to_bottom):
    s00 = tl.load(p00, mask=column_in, other=0.0).to(tl.float32)
    s01 = tl.load(p01, mask=column_in, other=0.0).to(tl.float32)
    s10 = tl.load(p10, mask=column_in, other=0.0).to(tl.float32)
    s11 = tl.load(p11, mask=column_in, other=0.0).to(tl.float32)
    above = s00 + to_right * (s01 - s00)
    below = s10 + to_right * (s11 - s10)
    return above[None, :] + to_bottom[:, None] * (below - above)[None, :]


@triton.jit
def _by_run(values, CELLS: tl.constexpr, STEP: tl.constexpr):
    return tl.sum(tl.reshape(values, (CELLS, STEP)), 1)


@triton.jit
def _numbers(counts, MIN_KEPT: tl.constexpr):
    """Return the number of hard pixels and `n_min`."""
    share = tl.full((), MIN_KEPT, tl.float64)
    n_min = (tl.load(counts + 1).to(tl.float64) * share).to(tl.int32)
    return tl.load(counts), tl.maximum(n_min, 1)


@triton.jit
def _nth_largest(histograms, n, DIGITS: tl.constexpr):
    """Return the first digits of the n-th largest loss, its place among those with these digits, and their number."""
    digits, ties = n * 0, n * 0
    value = tl.arange(0, 256)
    for digit in tl.static_range(DIGITS):
        found = tl.load(histograms + digit * 256 + value)
        at_least = tl.sum(found, 0) - tl.cumsum(found, 0) + found
        chosen = tl.maximum(tl.sum((at_least >= n).to(tl.int32), 0) - 1, 0)
        ties = tl.sum(tl.where(value == chosen, found, 0), 0)
        n = n - tl.sum(tl.where(value > chosen, found, 0), 0)
        digits = digits * 256 + chosen
    return digits, n, ties
