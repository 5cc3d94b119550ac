// Whether an interval leaves a neuron undecided: a breakpoint strictly inside, or, without breakpoints, `lower < upper`.

fn is_undecided(rule: Select, lower: f32, upper: f32) -> bool {
    if rule.n_breakpoints == 0u {
        return lower < upper;
    }
    var is_inside = false;
    for (var b = 0u; b < rule.n_breakpoints; b++) {
        is_inside |= lower < rule.breakpoints[b] && rule.breakpoints[b] < upper;
    }
    return is_inside;
}
