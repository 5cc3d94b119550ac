//! Preimages: which inputs of a region does a network map into a polytope? As a union of polytopes inside, or around.
//!
//! Source of the idea: PREMAP and PREMAP2 (Zhang et al. 2024, arXiv 2408.09262). What is ours: elements that are polytopes whatever was
//! split, rounding inside every constraint, volumes from samples that the search never saw.
//!
//! All inputs within 0.07 of a point that a network puts into its own class:
//! ```
//! # use network::{Activation, Affine, Dense, LinearMap, NodeId, Op};
//! # fn dense(n_out: usize, n_in: usize) -> Op {
//! #     let weight = (0..n_out * n_in).map(|i| ((i * 37 + 11) % 64) as f64 / 32.0 - 1.0).collect();
//! #     Op::Affine(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), vec![0.125; n_out]).into())
//! # }
//! use bounds::Device;
//! use driver::preimage::{Mode, OutputPolytope, PreimageOptions, PreimageProblem, PreimageSearch};
//! use network::{BoxRegion, Network};
//!
//! let mut builder = Network::builder(&[20])?;
//! let hidden = builder.push("hidden", dense(5, 20), &[NodeId(0)], &[5])?;
//! let hidden = builder.push("relu", Op::Activation(Activation::Relu), &[hidden], &[5])?;
//! let output = builder.push("output", dense(3, 5), &[hidden], &[3])?;
//! let network = builder.build(output)?;
//!
//! let x = vec![0.5_f64; 20];
//! let y = network.evaluate(&x)?;
//! let label = (0..3).max_by(|&a, &b| y[a].total_cmp(&y[b])).expect("three classes");
//! let region = BoxRegion::new(vec![0.43; 20], vec![0.57; 20])?;
//! let problem = PreimageProblem::new(network, region, OutputPolytope::all_others(label, 3), Mode::Under);
//! let found = PreimageSearch::new(&problem, &Device::Host)?.run(&PreimageOptions::default(), &mut |_| {})?;
//! assert!(found.is_reached && found.coverage >= 0.9);
//! assert!(found.elements.iter().all(|element| !element.contains(&x) || problem.contains(&x)));
//! # Ok::<(), driver::Error>(())
//! ```
//! A patch of an image, against the class that comes next:
//! ```
//! # use network::{Activation, Affine, Conv, Dense, LinearMap, NodeId, Op};
//! # fn spread(n: usize) -> Vec<f64> {
//! #     (0..n).map(|i| ((i * 37 + 11) % 64) as f64 / 32.0 - 1.0).collect()
//! # }
//! # let conv = Conv {
//! #     in_channels: 3, in_height: 5, in_width: 5, out_channels: 8, out_height: 3, out_width: 3, kernel: [3, 3],
//! #     stride: [1, 1], dilation: [1, 1], pad: [0, 0], groups: 1, weight: spread(216),
//! # };
//! # let conv = Op::Affine(Affine::exact(LinearMap::Conv(conv), vec![0.0; 72]).into());
//! # let dense = Dense { n_out: 4, n_in: 72, weight: spread(288) };
//! # let dense = Op::Affine(Affine::exact(LinearMap::Dense(dense), vec![0.0; 4]).into());
//! use bounds::Device;
//! use driver::preimage::{Mode, OutputPolytope, PreimageOptions, PreimageProblem, PreimageSearch};
//! use network::{BoxRegion, Network};
//!
//! let mut builder = Network::builder(&[3, 5, 5])?;
//! let hidden = builder.push("conv", conv, &[NodeId(0)], &[8, 3, 3])?;
//! let hidden = builder.push("relu", Op::Activation(Activation::Relu), &[hidden], &[8, 3, 3])?;
//! let output = builder.push("output", dense, &[hidden], &[4])?;
//! let network = builder.build(output)?;
//!
//! let image: Vec<f64> = (0..75).map(|i| f64::from(i % 10) / 10.0).collect();
//! let y = network.evaluate(&image)?;
//! let label = (0..4).max_by(|&a, &b| y[a].total_cmp(&y[b])).expect("four classes");
//! let target = OutputPolytope::runner_up(&network, &image, label)?;
//! // Three rows and two columns of all channels.
//! let (mut lower, mut upper) = (image.clone(), image.clone());
//! for i in (0..75).filter(|i| i % 25 / 5 < 3 && i % 5 < 2) {
//!     (lower[i], upper[i]) = (0.0, 1.0);
//! }
//! let problem = PreimageProblem::new(network, BoxRegion::new(lower, upper)?, target, Mode::Under);
//! let options = PreimageOptions { coverage: 0.75, n_report: 1 << 14, ..PreimageOptions::default() };
//! let found = PreimageSearch::new(&problem, &Device::Host)?.run(&options, &mut |_| {})?;
//! assert!(found.is_reached && found.coverage >= 0.75);
//! # Ok::<(), driver::Error>(())
//! ```

mod audit;
mod cells;
mod certified;
mod element;
mod enumerated;
mod interval;
mod linear_piece;
mod linear_program;
mod options;
mod outcome;
mod piece;
mod prior;
mod problem;
mod reduced;
mod reverse;
mod sampling;
mod search;
mod slant;
mod special;
mod splitting;
mod stream;
mod tree;
mod trim;
mod volume;
mod walk;

pub use audit::{Audit, AuditOptions};
pub use bounds::Plane;
pub use cells::Cells;
pub use certified::Certified;
pub use element::Element;
pub use interval::{Interval, clopper_pearson};
pub use options::PreimageOptions;
pub use outcome::{PreimageOutcome, PreimageStop, Round};
pub use prior::{Marginal, Prior};
pub use problem::{Mode, OutputPolytope, PreimageProblem};
pub use search::PreimageSearch;
pub use volume::Volume;
