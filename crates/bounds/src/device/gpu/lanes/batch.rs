use std::collections::HashMap;
use std::ops::Range;

use super::schedule::{LanePass, LaneSchedule};
use super::{LaneTask, TaskLane};
use crate::device::host::{Ended, Split};

/// What fills a tile whose lanes run out.
const NO_ROW: u32 = u32::MAX;

/// Four lanes of one subdomain, by their place in the task.
#[derive(Debug, Clone, Copy)]
pub struct Tile {
    pub subdomain: usize,
    pub lanes: [Option<usize>; 4],
}

/// The lanes of one submission as the device reads them.
#[derive(Debug)]
pub struct Batch<'t> {
    pub tiles: &'t [Tile],
    /// Of the task.
    pub subdomains: Range<usize>,
    /// Rows, `[n_tiles, 4]`.
    pub words: Vec<u32>,
    /// Which lanes rest: those that only fill their tile.
    pub deeds: Vec<u32>,
    /// `[n_splits, 4]`: lane, row of the duals, whether active, multiplier.
    pub splits: Vec<u32>,
    /// Slopes in 255ths, `[n_rows, n_tiles]`; empty if no lane starts from any.
    pub bytes: Vec<u32>,
    /// The place of every split among the words, by the task's lane, node and neuron.
    places: HashMap<(usize, u32, u32), usize>,
}

impl<'t> Batch<'t> {
    /// Lays out tiles.
    pub fn new(task: &LaneTask, pass: &LanePass, schedule: &LaneSchedule, tiles: &'t [Tile]) -> Self {
        let first = tiles.first().map_or(0, |tile| tile.subdomain);
        let last = tiles.last().map_or(0, |tile| tile.subdomain);
        let mut batch = Self {
            tiles,
            subdomains: first..last + 1,
            words: vec![NO_ROW; 4 * tiles.len()],
            deeds: vec![0; tiles.len()],
            splits: Vec::new(),
            bytes: Vec::new(),
            places: HashMap::new(),
        };
        let starts = || tiles.iter().flat_map(|tile| tile.lanes).flatten().map(|lane| &task.lanes[lane].start);
        if starts().any(|start| !start.alpha.is_empty()) {
            batch.bytes.resize(schedule.n_rows as usize * tiles.len(), 0);
        }
        for (t, tile) in tiles.iter().enumerate() {
            for (r, lane) in tile.lanes.iter().enumerate() {
                let Some(lane) = *lane else {
                    batch.deeds[t] |= 1 << r;
                    continue;
                };
                let TaskLane { row, start, .. } = &task.lanes[lane];
                batch.words[4 * t + r] = row.neuron | u32::from(row.is_upper) << 31;
                for (split, beta) in own_splits(start.splits, pass) {
                    let row = schedule.firsts[split.node as usize] + split.neuron;
                    // NaN becomes zero.
                    let beta = if *beta > 0.0 { beta.min(pass.caps[split.node as usize]) } else { 0.0 };
                    batch.places.insert((lane, split.node, split.neuron), batch.splits.len());
                    batch.splits.extend([(4 * t + r) as u32, row, u32::from(split.is_active), beta.to_bits()]);
                }
                if !batch.bytes.is_empty() {
                    batch.start_slopes(task, schedule, lane, (t, r));
                }
            }
        }
        batch
    }

    /// Slopes of one lane: those given, or the adaptive ones.
    fn start_slopes(&mut self, task: &LaneTask, schedule: &LaneSchedule, lane: usize, (t, r): (usize, usize)) {
        let TaskLane { start, subdomain, .. } = &task.lanes[lane];
        let state = &task.scopes[*subdomain].state;
        let n_given: usize = task.entries.iter().map(Vec::len).sum();
        let is_given = start.alpha.len() >= n_given;
        let mut at = 0;
        for (node, neurons) in task.entries.iter().enumerate() {
            let Some(place) = schedule.activations[node] else { continue };
            // As the host takes them: all of an activation's, or none.
            let is_whole = start.alpha.len() >= at + neurons.len();
            let first = schedule.firsts[node] as usize;
            for (e, &j) in neurons.iter().enumerate() {
                let byte = if is_given || is_whole {
                    start.alpha[at + e]
                } else {
                    (state[place.lines + j as usize].clamp(0.0, 1.0) * 255.0 + 0.5) as u8
                };
                self.bytes[(first + j as usize) * self.tiles.len() + t] |= u32::from(byte) << (8 * r);
            }
            at += neurons.len();
        }
    }

    /// Where a split of a lane lies among the words, if it is one that the pass knows.
    pub fn split_of(&self, lane: usize, split: Split) -> Option<usize> {
        self.places.get(&(lane, split.node, split.neuron)).copied()
    }
}

/// The splits that a pass has multipliers for; of several of one neuron the first, since each alone holds.
pub fn own_splits<'s>(
    splits: &'s [(Split, f32)],
    pass: &'s LanePass,
) -> impl Iterator<Item = &'s (Split, f32)> + Clone + 's {
    splits.iter().enumerate().filter_map(move |(place, with)| {
        let split = &with.0;
        let is_same = |(other, _): &(Split, f32)| (other.node, other.neuron) == (split.node, split.neuron);
        let is_relu = pass.is_relu.get(split.node as usize).copied().unwrap_or(false);
        (is_relu && !splits[..place].iter().any(is_same)).then_some(with)
    })
}

/// Lanes of one subdomain by fours, those with nothing to bound left out.
pub fn tiles_of(task: &LaneTask, is_open: impl Fn(usize) -> bool) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = Vec::new();
    let mut n_last = 4;
    for (place, lane) in task.lanes.iter().enumerate().filter(|(place, _)| is_open(*place)) {
        if n_last == 4 || tiles.last().is_none_or(|tile| tile.subdomain != lane.subdomain) {
            tiles.push(Tile { subdomain: lane.subdomain, lanes: [None; 4] });
            n_last = 0;
        }
        let tile = tiles.last_mut().expect("just made or found");
        tile.lanes[n_last] = Some(place);
        n_last += 1;
    }
    tiles
}

/// A lane before anything is known of it but whether its splits contradict its subdomain.
pub fn begun(task: &LaneTask, schedule: &LaneSchedule, lane: &TaskLane) -> Ended<f32> {
    let scope = &task.scopes[lane.subdomain];
    let contradicts = |(split, _): &(Split, f32)| {
        let place = schedule.activations.get(split.node as usize).copied().flatten();
        place.is_some_and(|place| {
            let (l, u) = (scope.state[place.source + split.neuron as usize], place.n + split.neuron as usize);
            if split.is_active { scope.state[place.source + u] < 0.0 } else { l > 0.0 }
        })
    };
    if scope.is_empty || lane.start.splits.iter().any(contradicts) {
        return Ended { bound: f32::INFINITY, is_empty: true, ..Ended::unknown() };
    }
    Ended::unknown()
}
