use std::collections::BTreeMap;

use bounds::Batch;
use network::BoxRegion;

use crate::patch::attack::{PatchAttack, Placement, Positions};
use crate::patch::scale::PixelScale;
use crate::patch::sweep::{Scene, Task};

/// How many placements to a side are bounded as one, the most first.
///
/// Four squares of two to a side cost about three times one of four, and four placements three times a square of two; so where
/// nothing is proved of squares they cost a third more, and where much is, they save most of it.
pub const SIDES: [usize; 2] = [4, 2];

/// Neighbouring placements on an image: what is proved of a box around the contents of all of them holds for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    scene: usize,
    /// Row and column of the first.
    begin: [usize; 2],
    side: usize,
    /// The tasks that are asked for, of all placements of the block.
    pub tasks: Vec<usize>,
}

impl PatchAttack {
    /// Where the block of so many placements to a side begins that a placement belongs to; `None` where placements are no grid.
    pub fn block(&self, placement: &Placement, side: usize) -> Option<[usize; 2]> {
        let ([patch], [[row, column]]) = (self.patches.as_slice(), placement.corners.as_slice()) else { return None };
        let Positions::Stride([down, right]) = patch.positions else { return None };
        let begin = |at: usize, step: usize| (at / (step * side).max(1)) * step * side;
        Some([begin(*row, down), begin(*column, right)])
    }

    /// The placements of the block that begins there: all that fit the image, whether they are asked for or not.
    fn members(&self, [row, column]: [usize; 2], side: usize, [_, height, width]: [usize; 3]) -> Vec<Placement> {
        let [patch] = self.patches.as_slice() else { return Vec::new() };
        let Positions::Stride([down, right]) = patch.positions else { return Vec::new() };
        let (last_row, last_column) = (height - patch.stencil.height(), width - patch.stencil.width());
        let rows = (0..side).map(|i| row + i * down).filter(|&row| row <= last_row);
        let corners =
            rows.flat_map(|row| (0..side).map(move |j| [row, column + j * right])).filter(|[_, c]| *c <= last_column);
        corners.map(|corner| Placement { corners: vec![corner] }).collect()
    }
}

impl Block {
    /// The blocks of tasks, in the order of their first ones; none where placements are no grid.
    pub fn of(attack: &PatchAttack, tasks: &[(usize, &Task)], side: usize) -> Vec<Self> {
        let mut blocks: Vec<Self> = Vec::new();
        let mut known: BTreeMap<(usize, [usize; 2]), usize> = BTreeMap::new();
        for (t, task) in tasks {
            let Some(begin) = attack.block(&task.placement, side) else { continue };
            let place = *known.entry((task.scene, begin)).or_insert_with(|| {
                blocks.push(Self { scene: task.scene, begin, side, tasks: Vec::new() });
                blocks.len() - 1
            });
            blocks[place].tasks.push(*t);
        }
        blocks
    }

    /// The block that a placement belongs to, with no tasks; none where placements are no grid.
    pub fn around(attack: &PatchAttack, scene: usize, placement: &Placement, side: usize) -> Option<Self> {
        attack.block(placement, side).map(|begin| Self { scene, begin, side, tasks: Vec::new() })
    }

    /// The box around what the contents of its placements reach, whether they are asked for or not, so that stops and shards change
    /// no bound; rounded outward.
    ///
    /// The image's own values are inside: where one placement has its patch, another leaves them.
    pub fn boxed(&self, (attack, scale): (&PatchAttack, &PixelScale), scenes: &[Scene]) -> Batch {
        let image = &scenes[self.scene].image;
        let mut around = Batch::default();
        for placement in attack.members(self.begin, self.side, image.shape()) {
            let region = attack.region(image, scale, &placement);
            if around.lower.is_empty() {
                around.lower.extend_from_slice(region.base());
                around.upper.extend_from_slice(region.base());
            }
            for (input, ends) in region.ends() {
                let end = Batch::enclosing(&ends.outer[..1], &ends.outer[1..]);
                around.lower[*input] = around.lower[*input].min(end.lower[0]);
                around.upper[*input] = around.upper[*input].max(end.upper[0]);
            }
        }
        around
    }
}

/// Widens a region so that it holds a box.
pub fn widen(region: &mut BoxRegion, around: &Batch) {
    for (i, (&lower, &upper)) in around.lower.iter().zip(&around.upper).enumerate() {
        let (lower, upper) = (f64::from(lower), f64::from(upper));
        region.lower[i] = region.lower[i].min(lower);
        region.upper[i] = region.upper[i].max(upper);
        region.inner_lower[i] = region.inner_lower[i].min(lower);
        region.inner_upper[i] = region.inner_upper[i].max(upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_every_patch_of_its_placements() {
        let attack = PatchAttack::rectangle(2, 2, 2, [0.25, 0.75]).unwrap();
        let image = network::Image::new([1, 7, 9], (0..63).map(|i| f64::from(i % 5) / 4.0).collect()).unwrap();
        let scale = PixelScale::new(vec![0.3], vec![0.7]).unwrap();
        let scenes = [Scene { image: image.clone(), class: 0 }];
        let placements = attack.placements(image.shape()).unwrap();
        assert_eq!(placements.len(), 3 * 4);
        let tasks: Vec<Task> = placements
            .iter()
            .map(|placement| Task { scene: 0, placement: placement.clone(), seed: 0, open: None })
            .collect();
        let asked: Vec<(usize, &Task)> = tasks.iter().enumerate().collect();
        for (side, sizes) in [(2, vec![4, 4, 2, 2]), (4, vec![12]), (1, vec![1; 12])] {
            let blocks = Block::of(&attack, &asked, side);
            assert_eq!(blocks.iter().map(|block| block.tasks.len()).collect::<Vec<_>>(), sizes);
            let boxes: Vec<Batch> = blocks.iter().map(|block| block.boxed((&attack, &scale), &scenes)).collect();
            for (block, around) in blocks.iter().zip(&boxes) {
                let holds =
                    |i: usize, value: f64| f64::from(around.lower[i]) <= value && value <= f64::from(around.upper[i]);
                for &t in &block.tasks {
                    let region = attack.region(&image, &scale, &placements[t]);
                    assert!((0..63).all(|i| holds(i, f64::from(region.base()[i]))));
                    assert!(region.ends().iter().all(|(i, ends)| ends.outer.iter().all(|&end| holds(*i, end))));
                }
            }
            // Which of them are asked for changes no box.
            let some = Block::of(&attack, &asked[5..6], side);
            let around = some[0].boxed((&attack, &scale), &scenes);
            assert!(some.len() == 1 && boxes.iter().any(|other| other == &around));
        }
    }

    #[test]
    fn placements_that_are_no_grid_have_no_blocks() {
        let mut attack = PatchAttack::rectangle(1, 1, 1, [0.0, 1.0]).unwrap();
        attack.patches[0].positions = Positions::At(vec![[0, 0], [3, 3]]);
        assert_eq!(attack.block(&Placement { corners: vec![[3, 3]] }, 2), None);
    }
}
