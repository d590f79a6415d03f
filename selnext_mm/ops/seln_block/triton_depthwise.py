"""The depth-wise convolution of a channels-last map in Triton, and the gradient of its input."""

import triton
import triton.language as tl


@triton.jit
def _column(
    x, column, top, line_stride, chans, chan_in, height, width, channels,
    K: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """The values of one column that ``ROWS`` rows of outputs need."""
    values = ()
    for r in tl.static_range(ROWS + K - 1):
        row = top + r - K // 2
        inside = (row >= 0) & (row < height) & (column < width)
        at = column * channels + chans + (r - K // 2) * line_stride
        values = values + (tl.load(x + at, mask=chan_in & inside, other=0.0),)
    return values


@triton.jit(do_not_specialize=['height', 'width', 'segment_width'])
def depthwise_kernel(
    x, weight, bias, residual, factor, branch_scale, y, sums,
    height, width, channels, segment_width,
    K: tl.constexpr, BACKWARD: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
    ROWS: tl.constexpr, UNROLL: tl.constexpr, PREFETCH: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A depth-wise K x K convolution of ``ROWS`` rows, some columns and ``BLOCK_C`` channels.

    A thread keeps the K * K weights of its channels and walks over the columns. Each value of
    ``x`` is loaded once for all outputs of the tile that use it; with ``PREFETCH`` one column
    ahead of its use. (The compiler does not load ahead by itself, because for all it knows a store
    may change what is loaded next.)

    ``weight`` is (K * K, C) in float32. Forward: ``y = conv(x) + bias``. ``BACKWARD``: the weights
    are flipped, ``y = residual + factor * conv(x)``, and ``sums`` (tiles, 2, C) gets the sums over
    the tile of ``x`` and of ``branch_scale * residual``.
    """
    PAD: tl.constexpr = K // 2
    groups, segments = tl.cdiv(height, ROWS), tl.cdiv(width, segment_width)
    tile = tl.program_id(0)
    segment, line = tile % segments, tile // segments
    image, top = line // groups, (line % groups) * ROWS
    chans = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    chan_in = chans < channels
    left = segment * segment_width
    right = tl.minimum(left + segment_width, width)
    start = tl.maximum(left - PAD, 0)
    end = tl.minimum(right + PAD, width)
    # Pointers to the tile's first row, from which offsets fit into 32 bits.
    corner = (image.to(tl.int64) * height + top) * width * channels
    x += corner
    y += corner
    if BACKWARD:
        residual += corner
    line_stride = width * channels

    taps = ()
    for i in tl.static_range(K * K):
        tap = K * K - 1 - i if BACKWARD else i
        taps = taps + (tl.load(weight + tap * channels + chans, mask=chan_in, other=0.0),)
    zero = tl.zeros((BLOCK_C,), tl.float32)
    if BACKWARD:
        scale = tl.load(factor).to(tl.float32)
        sum_x, sum_residual = zero, zero
        shift = zero
    else:
        shift = tl.load(bias + chans, mask=chan_in, other=0.0).to(tl.float32)
    # acc[t * K + m] is the output of row t in column (current - PAD + m).
    acc = ()
    for _ in tl.static_range(ROWS * K):
        acc = acc + (zero,)

    if PREFETCH:
        coming = _column(
            x, start, top, line_stride, chans, chan_in, height, width, channels, K, ROWS
        )
    for first in range(start, end, UNROLL):
        for step in tl.static_range(UNROLL):
            column = first + step
            ahead = column + 1 if PREFETCH else column
            loaded = _column(
                x, ahead, top, line_stride, chans, chan_in, height, width, channels, K, ROWS
            )
            if PREFETCH:
                values, coming = coming, loaded
            else:
                values = loaded
            offset = column * channels + chans
            done = column - PAD
            done_in = chan_in & ((done >= left) & (done < right))
            others = ()
            if BACKWARD:
                for t in tl.static_range(ROWS):
                    others = others + (
                        tl.load(
                            residual + (offset + (t * line_stride - PAD * channels)),
                            mask=done_in & (top + t < height), other=0.0,
                        ),
                    )  # fmt: skip
            after = ()
            for t in tl.static_range(ROWS):
                for m in tl.static_range(K):
                    a = acc[t * K + m]
                    for i in tl.static_range(K):
                        a += values[t + i].to(tl.float32) * taps[i * K + K - 1 - m]
                    after = after + (a,)
            acc = ()
            for t in tl.static_range(ROWS):
                row_in = top + t < height
                result = after[t * K] + shift
                if BACKWARD:
                    mine = (column >= left) & (column < right) & row_in
                    sum_x += tl.where(mine, values[t + PAD].to(tl.float32), 0.0)
                    other = others[t].to(tl.float32)
                    sum_residual += other
                    result = other + scale * result
                at = offset + (t * line_stride - PAD * channels)
                tl.store(y + at, result.to(y.dtype.element_ty), mask=done_in & row_in)
                for m in tl.static_range(1, K):
                    acc = acc + (after[t * K + m],)
                acc = acc + (zero,)
    # The outputs that are still pending because the map ends inside their window.
    last = start + tl.cdiv(end - start, UNROLL) * UNROLL
    for m in tl.static_range(PAD):
        done = last - PAD + m
        done_in = chan_in & ((done >= left) & (done < right))
        for t in tl.static_range(ROWS):
            row_in = top + t < height
            at = done * channels + chans + t * line_stride
            result = acc[t * K + m] + shift
            if BACKWARD:
                other = tl.load(residual + at, mask=done_in & row_in, other=0.0)
                sum_residual += other.to(tl.float32)
                result = other.to(tl.float32) + scale * result
            tl.store(y + at, result.to(y.dtype.element_ty), mask=done_in & row_in)
    if BACKWARD:
        at = (tile.to(tl.int64) * 2) * channels + chans
        if HAS_BRANCH_SCALE:
            sum_residual *= tl.load(branch_scale + image).to(tl.float32)
        tl.store(sums + at, sum_x, mask=chan_in)
        tl.store(sums + at + channels, sum_residual, mask=chan_in)
