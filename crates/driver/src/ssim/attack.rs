use std::sync::{Arc, Mutex};

use bounds::{Batch, BoundEngine, Device, Effort, InputSet, Method, Recipe, Room, Wanted};
use network::{BoxRegion, Network, Property};

use crate::error::Error;
use crate::search::random::Random;
use crate::search::{Attack, Clock, Counterexample, Objective, Suspect, confirm};
use crate::ssim::reference::Reference;

/// Looks for similar images that are classified differently, by Frank–Wolfe and projected gradient steps from many starts.
///
/// A Frank–Wolfe step goes towards the image that minimises the linearised margin over the set, which the bounds' own concretisation
/// finds; where the set is convex everything on the way is similar enough. Near a curved boundary such steps zigzag: there gradient
/// steps, pulled back into the set, take over until they gain.
#[derive(Debug)]
pub struct SsimAttack<'a> {
    network: &'a Network,
    property: &'a Property,
    objective: &'a Objective,
    reference: &'a Reference<'a>,
    threshold: f64,
    set: Arc<InputSet>,
    /// A box that contains it.
    images: (Vec<f64>, Vec<f64>),
    /// Linearises the margins at points.
    engine: BoundEngine,
    /// What an image must survive besides.
    is_png_safe: bool,
    /// The first image found whose margin is exactly zero.
    tie: Mutex<Option<Counterexample>>,
}

/// Shares of the way to the minimiser that are tried at once.
const SHARES: [f32; 7] = [1.0, 0.7, 0.45, 0.25, 0.12, 0.05, 0.01];
/// Lengths of the gradient steps that are tried where none of them gains, as shares of the distance to the minimiser.
const LENGTHS: [f64; 4] = [1.0, 0.25, 0.06, 0.015];

/// How a start goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    FrankWolfe,
    Gradient,
    /// Neither gained.
    Ended,
}

impl<'a> SsimAttack<'a> {
    /// Prepares to attack one set.
    ///
    /// # Errors
    /// As [`BoundEngine::new`].
    pub fn new(
        (network, property, objective): (&'a Network, &'a Property, &'a Objective),
        reference: &'a Reference<'a>,
        (threshold, set): (f64, Arc<InputSet>),
        is_png_safe: bool,
    ) -> Result<Self, Error> {
        let n = network.n_inputs();
        let recipe = Recipe { method: Method::CrownIbp, ..Recipe::default() };
        // Any image may be linearised at.
        let all = BoxRegion::new(vec![0.0; n], vec![1.0; n])?;
        let engine = BoundEngine::new(&Device::Host, Arc::clone(&objective.network), &all, recipe)?;
        let images = set.enclosure().unwrap_or_else(|| (vec![0.0; n], vec![1.0; n]));
        let tie = Mutex::new(None);
        Ok(Self { network, property, objective, reference, threshold, set, images, engine, is_png_safe, tie })
    }

    /// An image that is similar enough and whose margin is exactly zero, if one was met.
    pub fn into_tie(self) -> Option<Counterexample> {
        self.tie.into_inner().unwrap_or_default()
    }

    /// Attacks the disjuncts that `is_open` names: from the reference, and from so many random members of the set.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn attack_set(
        &self,
        is_open: &dyn Fn(usize) -> bool,
        n_random: usize,
        steps: usize,
        random: &mut Random,
        clock: &Clock,
    ) -> Result<Option<Counterexample>, Error> {
        let open: Vec<usize> = (0..self.objective.disjuncts.len()).filter(|&disjunct| is_open(disjunct)).collect();
        let centre: Vec<f32> = self.reference.pixels().iter().map(|&x| x as f32).collect();
        let mut starts: Vec<Suspect> = open.iter().map(|&disjunct| (centre.clone().into(), disjunct)).collect();
        starts.extend(self.members(&open, n_random, random));
        self.descend(&starts, steps, clock)
    }

    /// Attacks one disjunct from so many random members of the set alone, so that another seed finds another image.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn attack_from_members(
        &self,
        disjunct: usize,
        n_random: usize,
        steps: usize,
        random: &mut Random,
        clock: &Clock,
    ) -> Result<Option<Counterexample>, Error> {
        self.descend(&self.members(&[disjunct], n_random, random), steps, clock)
    }

    /// So many random members of the set for each of these disjuncts.
    fn members(&self, open: &[usize], n_random: usize, random: &mut Random) -> Vec<Suspect> {
        let centre: Vec<f32> = self.reference.pixels().iter().map(|&x| x as f32).collect();
        let mut starts: Vec<Suspect> = Vec::with_capacity(open.len() * n_random);
        let mut room = self.room();
        for _ in 0..n_random {
            for &disjunct in open {
                // A random direction's farthest member, and a random share of the way to it.
                let n = centre.len();
                let smooth = random.unit() < 0.5;
                let mut push = 0.0;
                let direction = |_: usize| {
                    let step = f64::from(random.unit()) + f64::from(random.unit()) - 1.0;
                    push = if smooth { 0.8 * push + step } else { step };
                    push
                };
                let direction: Vec<f64> = (0..n).map(direction).collect();
                let far = self.farthest(&direction, &mut room);
                let share = f64::from(random.unit());
                let between = centre.iter().zip(far).map(|(&r, x)| (f64::from(r) + share * (x - f64::from(r))) as f32);
                starts.push((between.collect(), disjunct));
            }
        }
        starts
    }

    fn room(&self) -> Room {
        let (lower, upper) = self.images.clone();
        Room::within(lower, upper)
    }

    /// The member of the set that minimises `Σ a x`, about: pulled towards the reference until it is one.
    fn farthest(&self, a: &[f64], room: &mut Room) -> Vec<f64> {
        room.a.clear();
        room.a.extend_from_slice(a);
        self.set.least(room, f64::INFINITY, Effort::default());
        self.reference.pulled(&room.point, self.threshold)
    }

    /// Steps from all starts at once.
    fn descend(&self, starts: &[Suspect], steps: usize, clock: &Clock) -> Result<Option<Counterexample>, Error> {
        let n = self.network.n_inputs();
        let n_rows = self.objective.network.n_outputs();
        let mut room = self.room();
        let mut points: Vec<Vec<f32>> = Vec::with_capacity(starts.len());
        for (start, _) in starts {
            let point: Vec<f64> = start.iter().map(|&x| f64::from(x).clamp(0.0, 1.0)).collect();
            points.push(self.reference.pulled(&point, self.threshold).iter().map(|&x| x as f32).collect());
        }
        let mut ways = vec![Way::FrankWolfe; starts.len()];
        for step in 0..=steps {
            let live: Vec<usize> = (0..starts.len()).filter(|&s| ways[s] != Way::Ended).collect();
            if live.is_empty() || (step > 0 && clock.stop(0, 0).is_some()) {
                break;
            }
            let ends: Vec<f32> = live.iter().flat_map(|&s| points[s].iter().copied()).collect();
            let batch = Batch { lower: ends.clone(), upper: ends };
            let bounds = self.engine.bound(&batch, Wanted { slopes: step < steps, split: false })?;
            let margin_of = |lower: &[f64], slack: &[f64], disjunct: usize| {
                let rows = self.objective.disjuncts[disjunct].1.clone();
                rows.map(|row| lower[row] + slack[row]).fold(f64::NEG_INFINITY, f64::max)
            };
            let mut trials: Vec<f32> = Vec::new();
            let (mut margins, mut first_trials) = (Vec::with_capacity(live.len()), vec![0]);
            for (place, &s) in live.iter().enumerate() {
                let (lower, slack) = (rows(&bounds.lower, n_rows, place), rows(&bounds.lower_slack, n_rows, place));
                // Any class may overtake on the way to another.
                let least = (0..self.objective.disjuncts.len())
                    .map(|disjunct| margin_of(lower, slack, disjunct))
                    .fold(f64::INFINITY, f64::min);
                if least <= 1e-6
                    && let Some(found) = self.confirmed(&points[s])
                {
                    return Ok(Some(found));
                }
                margins.push(margin_of(lower, slack, starts[s].1));
                if step == steps {
                    continue;
                }
                let row = self.objective.disjuncts[starts[s].1].1.start;
                let slopes = &bounds.slopes[(place * n_rows + row) * n..][..n];
                let far = self.farthest(slopes, &mut room);
                if ways[s] == Way::FrankWolfe {
                    for share in SHARES {
                        trials.extend(points[s].iter().zip(&far).map(|(&x, &v)| x + share * (v as f32 - x)));
                    }
                } else {
                    self.gradient_steps(&points[s], slopes, &far, &mut trials);
                }
                first_trials.push(trials.len() / n);
            }
            if step == steps {
                break;
            }
            let tried =
                self.engine.bound(&Batch { lower: trials.clone(), upper: trials.clone() }, Wanted::default())?;
            for (place, &s) in live.iter().enumerate() {
                let value = |trial: usize| {
                    let (lower, slack) = (&tried.lower, &tried.lower_slack);
                    margin_of(rows(lower, n_rows, trial), rows(slack, n_rows, trial), starts[s].1)
                };
                let trials_of = first_trials[place]..first_trials[place + 1];
                let best = trials_of.clone().min_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap_or(trials_of.start);
                ways[s] = if value(best) < margins[place] - 1e-7 * margins[place].abs() {
                    points[s].copy_from_slice(&trials[best * n..][..n]);
                    Way::FrankWolfe
                } else if ways[s] == Way::FrankWolfe {
                    Way::Gradient
                } else {
                    Way::Ended
                };
            }
        }
        Ok(None)
    }

    /// Steps against the gradient, pulled back into the set.
    fn gradient_steps(&self, point: &[f32], slopes: &[f64], far: &[f64], trials: &mut Vec<f32>) {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let distance = norm(&mut point.iter().zip(far).map(|(&x, v)| v - f64::from(x)));
        let steepness = norm(&mut slopes.iter().copied()).max(f64::MIN_POSITIVE);
        for length in LENGTHS {
            let step = length * distance / steepness;
            let moved = point.iter().zip(slopes).map(|(&x, slope)| (f64::from(x) - step * slope).clamp(0.0, 1.0));
            let moved: Vec<f64> = moved.collect();
            trials.extend(self.reference.pulled(&moved, self.threshold).iter().map(|&x| x as f32));
        }
    }

    /// The image as a counterexample, if it is one: similar enough by a bound, classified differently in f64 and in f32.
    ///
    /// Rounding to f32 (or to eight bits) may leave the set by a little: then the image is moved towards the reference.
    fn confirmed(&self, point: &[f32]) -> Option<Counterexample> {
        let pixels = self.reference.pixels();
        for back in [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.02, 0.05, 0.1, 0.2] {
            let moved = point.iter().zip(pixels).map(|(&x, r)| f64::from(x) + back * (r - f64::from(x)));
            let image: Vec<f64> = moved
                .map(|x| {
                    let x = x.clamp(0.0, 1.0);
                    if self.is_png_safe { f64::from((x * 255.0).round() as f32 / 255.0) } else { f64::from(x as f32) }
                })
                .collect();
            if !self.reference.is_similar(&image, self.threshold) {
                continue;
            }
            let found = confirm(self.network, self.property, &image);
            match found {
                Some(found) if found.margin > 0.0 => return Some(found),
                Some(found) => {
                    let mut tie = self.tie.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    tie.get_or_insert(found);
                    // The largest margin over all classes: none is ahead here.
                    if !self.is_png_safe {
                        return None;
                    }
                }
                // Farther back the margin only grows, but for eight bits.
                None if !self.is_png_safe => return None,
                None => {}
            }
        }
        None
    }
}

impl Attack for SsimAttack<'_> {
    fn attack_boxes(
        &self,
        boxes: &[(&[f32], &[f64])],
        steps: usize,
        clock: &Clock,
    ) -> Result<Option<Counterexample>, Error> {
        let n = self.network.n_inputs();
        let n_disjuncts = self.objective.disjuncts.len();
        let corner = |(ends, slopes): &(&[f32], &[f64])| -> Box<[f32]> {
            let side = |i: usize| match slopes.get(i) {
                Some(&slope) if slope > 0.0 => ends[i],
                Some(_) => ends[n + i],
                None => 0.5 * (ends[i] + ends[n + i]),
            };
            (0..n).map(side).collect()
        };
        let starts: Vec<Suspect> = boxes.iter().enumerate().map(|(s, of)| (corner(of), s % n_disjuncts)).collect();
        self.descend(&starts, steps, clock)
    }

    fn attack_points(&self, starts: &[Suspect], steps: usize, clock: &Clock) -> Result<Option<Counterexample>, Error> {
        self.descend(starts, steps, clock)
    }
}

fn rows(values: &[f64], n_rows: usize, place: usize) -> &[f64] {
    &values[place * n_rows..][..n_rows]
}
