//! What a sweep saves: all placements of a patch on a few images together, and the same questions one by one in the same process.
//!
//! Ids are `patch/HOW/NETWORK`; throughput is in placements. *Together* is `diadem patch`; *alone* is a sweep of its own for each placement
//! (batch 1), with its program, its bounds, its attack and its refinement; *verify* asks each as a property. Of MNIST, every thirteenth
//! placement is asked alone. It needs the reference data (`DIADEM_DATA`).

use std::path::{Path, PathBuf};

use bounds::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use driver::patch::{Against, PatchAttack, PatchSweep, PixelScale, Scene, SweepOptions, Task};
use driver::{Limits, Silent, Verify, VerifyOptions};
use model::{Selection, Source, Split};
use network::{Disjunct, HalfSpace, Image, Network, Property, onnx};

/// A sweep of squares that hold anything.
struct Case {
    name: &'static str,
    network: Network,
    scenes: Vec<Scene>,
    attack: PatchAttack,
    /// Of so many placements, one is asked alone too: those take long.
    alone: usize,
}

impl Case {
    fn digits() -> Self {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let image = Image::read_npy(&examples.join("images/digit_4.npy")).expect("the example is an image");
        Self {
            name: "digits_conv",
            network: onnx::read(&examples.join("networks/digits_conv.onnx")).expect("the example is a network"),
            scenes: vec![Scene { image, class: 4 }],
            attack: PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).expect("a square"),
            alone: 1,
        }
    }

    fn mnist() -> Option<Self> {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let data = std::env::var_os("DIADEM_DATA").map_or_else(default, PathBuf::from);
        let network = onnx::read(&data.join("preimage/models/mnist_conv_small.onnx")).ok()?;
        let selection = Selection { limit: Some(2), ..Selection::default() };
        let samples = Source::Mnist(data.join("datasets")).read(Split::Test, &selection).ok()?;
        let scene = |i: usize| {
            let pixels = samples.sample(i).iter().map(|&pixel| f64::from(pixel)).collect();
            Scene { image: Image::new([1, 28, 28], pixels).expect("784 pixels"), class: samples.labels()[i] }
        };
        let attack = PatchAttack::rectangle(3, 3, 1, [0.0, 1.0]).expect("a square");
        Some(Self { name: "mnist_conv_small", network, scenes: (0..2).map(scene).collect(), attack, alone: 13 })
    }
}

fn bench(criterion: &mut Criterion) {
    for case in [Some(Case::digits()), Case::mnist()].into_iter().flatten() {
        let Case { name, network, scenes, attack, alone } = &case;
        let scale = PixelScale::identity();
        let sweep = PatchSweep { network, scale: &scale, attack, against: Against::AllOthers, device: &Device::Host };
        let placements = attack.placements(scenes[0].image.shape()).expect("they fit");
        let of_scene = |scene: usize| {
            placements.iter().map(move |placement| Task { scene, placement: placement.clone(), seed: 7, open: None })
        };
        let tasks: Vec<Task> = (0..scenes.len()).flat_map(of_scene).collect();
        let limits = Limits { subdomains: Some(200), ..Limits::default() };
        let options = SweepOptions { limits: limits.clone(), ..SweepOptions::default() };
        let single = SweepOptions { batch: 1, ..options.clone() };
        let asked = VerifyOptions { limits, ..VerifyOptions::default() };
        let some: Vec<&Task> = tasks.iter().step_by(*alone).collect();
        let mut measure = |how: &str, n: usize, work: &dyn Fn()| {
            let mut group = criterion.benchmark_group(format!("patch/{how}"));
            group.throughput(Throughput::Elements(n as u64)).sample_size(10);
            group.bench_function(*name, |bencher| bencher.iter(work));
            group.finish();
        };
        measure("together", tasks.len(), &|| sweep.run(scenes, &tasks, &options, &mut |_| {}).expect("it runs"));
        measure("alone", some.len(), &|| {
            for task in &some {
                let own = Task { scene: 0, ..(*task).clone() };
                let scene = std::slice::from_ref(&scenes[task.scene]);
                sweep.run(scene, &[own], &single, &mut |_| {}).expect("it runs");
            }
        });
        measure("verify", some.len(), &|| {
            for task in &some {
                let property = property(&sweep, &scenes[task.scene], task);
                let question = Verify { network, property: &property, device: &Device::Host };
                question.run(&asked, &mut Silent).expect("it runs");
            }
        });
    }
}

/// That no contents of a task's patch change the class, as a property of all inputs.
fn property(sweep: &PatchSweep, scene: &Scene, task: &Task) -> Property {
    let region = sweep.region(scene, task).hull().expect("its ends are finite");
    let disjunct = |other: usize| {
        let mut output = vec![(scene.class, [1.0; 2]), (other, [-1.0; 2])];
        output.sort_by_key(|(class, _)| *class);
        Disjunct { region: region.clone(), half_spaces: vec![HalfSpace { output, ..HalfSpace::default() }] }
    };
    let disjuncts = sweep.others(scene).expect("the image fits").into_iter().map(disjunct).collect();
    Property { n_inputs: region.n_inputs(), n_outputs: sweep.network.n_outputs(), disjuncts }
}

criterion_group!(benches, bench);
criterion_main!(benches);
