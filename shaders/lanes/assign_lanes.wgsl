// Closes up the tiles in which some lane still moves, in order: their number, the tile and the subdomain at each position.
//
// One workgroup.

//#import shared/frame

const SIZE: u32 = 256u;
var<workgroup> sums: array<u32, 256>;

fn is_moving(tile: u32) -> bool {
    return (book[frame.deeds + tile] & 15u) != 15u;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    let n = frame.n_tiles;
    let span = (n + SIZE - 1u) / SIZE;
    let begin = min(local * span, n);
    let end = min(begin + span, n);
    var count = 0u;
    for (var t = begin; t < end; t++) {
        count += select(0u, 1u, is_moving(t));
    }
    sums[local] = count;
    for (var step = 1u; step < SIZE; step *= 2u) {
        workgroupBarrier();
        var before = 0u;
        if local >= step {
            before = sums[local - step];
        }
        workgroupBarrier();
        sums[local] += before;
    }
    var place = sums[local] - count;
    for (var t = begin; t < end; t++) {
        if is_moving(t) {
            book[frame.places + place] = t;
            book[frame.owners + place] = book[frame.subdomains + t];
            place++;
        }
    }
    if local == SIZE - 1u {
        book[0] = sums[local];
    }
}
