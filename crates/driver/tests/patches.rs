//! Patches on small networks: verdicts against patches that are tried one by one, against each other, and against what must not matter.

#[cfg(feature = "gpu")]
#[path = "../../bounds/tests/it/adapter.rs"]
mod adapter;

use std::path::Path;
use std::sync::Arc;

use bounds::Device;
use cpu_time::ThreadTime;
use driver::patch::{
    Against, Contents, CoverageOptions, Finding, Patch, PatchAttack, PatchStage, PatchSweep, PatchVerdict, PixelScale,
    Placement, Positions, Scene, Stencil, SweepOptions, Task, changed,
};
use driver::{Interrupt, Limits, Silent, StopReason, Verdict, Verify, VerifyOptions};
use network::{
    Activation, Affine, Conv, Dense, Disjunct, HalfSpace, Image, LinearMap, Network, NodeId, Op, Property, onnx,
};
use rayon::prelude::*;

/// A reproducible stream of numbers (splitmix64).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / (1_u64 << 24) as f64
    }
}

/// A small classifier of 2 × 5 × 5 images, with three classes.
fn small(seed: u64) -> Network {
    let mut stream = Stream(seed);
    let mut weights = |n: usize, scale: f64| -> Vec<f64> {
        (0..n).map(|_| f64::from((scale * (2.0 * stream.unit() - 1.0)) as f32)).collect()
    };
    let conv = Conv {
        in_channels: 2,
        in_height: 5,
        in_width: 5,
        out_channels: 4,
        out_height: 3,
        out_width: 3,
        kernel: [3, 3],
        stride: [2, 2],
        dilation: [1, 1],
        pad: [1, 1],
        groups: 1,
        weight: weights(72, 0.6),
    };
    let (bias, dense, outputs) = (weights(36, 0.2), weights(36 * 8, 0.4), weights(24, 0.8));
    let affine = |map, bias| Op::Affine(Arc::new(Affine::exact(map, bias)));
    let mut builder = Network::builder(&[2, 5, 5]).unwrap();
    let node = builder.push("conv", affine(LinearMap::Conv(conv), bias), &[NodeId(0)], &[4, 3, 3]).unwrap();
    let node = builder.push("relu", Op::Activation(Activation::Relu), &[node], &[36]).unwrap();
    let map = LinearMap::Dense(Dense { n_out: 8, n_in: 36, weight: dense });
    let node = builder.push("dense", affine(map, vec![0.05; 8]), &[node], &[8]).unwrap();
    let node = builder.push("relu", Op::Activation(Activation::Relu), &[node], &[8]).unwrap();
    let map = LinearMap::Dense(Dense { n_out: 3, n_in: 8, weight: outputs });
    let node = builder.push("output", affine(map, vec![0.0; 3]), &[node], &[3]).unwrap();
    builder.build(node).unwrap()
}

fn image(seed: u64) -> Image {
    let mut stream = Stream(seed ^ 0xabcd);
    Image::from_8_bit([2, 5, 5], &(0..50).map(|_| (stream.unit() * 255.0) as u8).collect::<Vec<_>>()).unwrap()
}

/// Everything that a sweep needs.
struct Setting {
    network: Network,
    scale: PixelScale,
    attack: PatchAttack,
    scenes: Vec<Scene>,
}

impl Setting {
    fn new(network: Network, scale: PixelScale, attack: PatchAttack, images: Vec<Image>) -> Self {
        let mut setting = Self { network, scale, attack, scenes: Vec::new() };
        let scene = |image: Image| {
            let class = setting.sweep(&Device::Host).predicted(&image).unwrap();
            Scene { image, class }
        };
        setting.scenes = images.into_iter().map(scene).collect();
        setting
    }

    fn sweep<'s>(&'s self, device: &'s Device) -> PatchSweep<'s> {
        let (network, scale, attack) = (&self.network, &self.scale, &self.attack);
        PatchSweep { network, scale, attack, against: Against::AllOthers, device }
    }

    fn tasks(&self) -> Vec<Task> {
        let of_scene = |(scene, s): (usize, &Scene)| {
            let placements = self.attack.placements(s.image.shape()).unwrap();
            placements.into_iter().map(move |placement| Task { scene, placement, seed: 7, open: None })
        };
        self.scenes.iter().enumerate().flat_map(of_scene).collect()
    }

    /// The last finding of every task.
    fn run_on(&self, device: &Device, tasks: &[Task], options: &SweepOptions) -> Vec<Finding> {
        let mut last: Vec<Option<Finding>> = vec![None; tasks.len()];
        let mut take = |findings: Vec<Finding>| {
            for finding in findings {
                let task = finding.task;
                let known = last[task].replace(finding);
                assert!(known.is_none_or(|known| known.verdict == PatchVerdict::Open), "a last verdict was told twice");
            }
        };
        self.sweep(device).run(&self.scenes, tasks, options, &mut take).unwrap();
        last.into_iter().map(|finding| finding.expect("every task is told of")).collect()
    }

    fn run(&self, options: &SweepOptions) -> Vec<Finding> {
        self.run_on(&Device::Host, &self.tasks(), options)
    }

    /// The class at contents of a task's patches: `value(input, patch)` is a pixel.
    fn class_with(&self, task: &Task, value: &mut dyn FnMut(usize, usize) -> f64) -> usize {
        let y = self.outputs_with(task, value);
        (0..y.len()).max_by(|&a, &b| y[a].total_cmp(&y[b]).then(b.cmp(&a))).unwrap()
    }

    fn outputs_with(&self, task: &Task, value: &mut dyn FnMut(usize, usize) -> f64) -> Vec<f64> {
        let image = &self.scenes[task.scene].image;
        let [n_channels, height, width] = image.shape();
        let area = height * width;
        let mut pixels = image.pixels().to_vec();
        for (pixel, patch) in self.attack.covered(&task.placement, image.shape()) {
            for channel in 0..n_channels {
                pixels[channel * area + pixel] = value(channel * area + pixel, patch);
            }
        }
        let x: Vec<f64> =
            pixels.iter().enumerate().map(|(i, &pixel)| f64::from(self.scale.input(i / area, pixel))).collect();
        self.network.evaluate(&x).unwrap()
    }

    /// Every counterexample must be one on the network itself, and change nothing but the patch.
    fn replay(&self, tasks: &[Task], findings: &[Finding]) -> usize {
        let sweep = self.sweep(&Device::Host);
        let mut n = 0;
        for finding in findings {
            let PatchVerdict::Falsified(found) = &finding.verdict else { continue };
            let task = &tasks[finding.task];
            let scene = &self.scenes[task.scene];
            let base = sweep.inputs(&scene.image);
            let input = found.input(&base);
            let wide: Vec<f64> = input.iter().map(|&x| f64::from(x)).collect();
            let others = sweep.others(scene).unwrap();
            let (predicted, _) = changed(&self.network, (&wide, &input), scene.class, &others).expect("it replays");
            assert!(found.margin > 0.0 && predicted == found.predicted);
            let covered = self.attack.covered(&task.placement, scene.image.shape());
            let area = scene.image.shape()[1] * scene.image.shape()[2];
            let may_change = |i: usize| covered.iter().any(|(pixel, _)| *pixel == i % area);
            assert!((0..base.len()).all(|i| may_change(i) || base[i] == input[i]));
            n += 1;
        }
        n
    }
}

fn rectangle(height: usize, width: usize) -> Vec<Patch> {
    vec![Patch { stencil: Stencil::rectangle(height, width).unwrap(), positions: Positions::Stride([1, 1]) }]
}

fn counts(findings: &[Finding]) -> [usize; 3] {
    let count = |name: &str| findings.iter().filter(|finding| finding.verdict.name() == name).count();
    [count("verified"), count("falsified"), count("unknown")]
}

/// Without what depends on the clock.
fn timeless(findings: &[Finding]) -> Vec<Finding> {
    findings.iter().map(|finding| Finding { time_s: 0.0, ..finding.clone() }).collect()
}

#[test]
fn verdicts_are_those_of_trying_all_contents() {
    let scale = PixelScale::new(vec![0.4, 0.5], vec![0.25, 0.3]).unwrap();
    let mut total = [0; 3];
    for seed in 0..6 {
        let attack =
            PatchAttack { patches: rectangle(1, 1), contents: Contents::Free([0.0, 1.0]), channels: Vec::new() };
        let setting = Setting::new(small(seed), scale.clone(), attack, vec![image(seed), image(seed + 50)]);
        let tasks = setting.tasks();
        let findings = setting.run(&SweepOptions::default());
        setting.replay(&tasks, &findings);
        for (task, finding) in tasks.iter().zip(&findings) {
            let class = setting.scenes[task.scene].class;
            let steps = 32;
            let mut margins = Vec::new();
            for place in 0..(steps + 1) * (steps + 1) {
                let part = |i: usize| f64::from(if i < 25 { place / (steps + 1) } else { place % (steps + 1) });
                let y = setting.outputs_with(task, &mut |i, _| part(i) / f64::from(steps));
                let others = (0..y.len()).filter(|&other| other != class);
                margins.push(others.map(|other| y[other] - y[class]).fold(f64::NEG_INFINITY, f64::max));
            }
            let most = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            match finding.verdict {
                PatchVerdict::Verified => assert!(most < 0.0, "{seed}: {finding:?}"),
                // What lies between two steps may still be found.
                PatchVerdict::Falsified(_) => {}
                // All hidden neurons are dead there and all classes equal: that is no change, and nothing is proved.
                PatchVerdict::Unknown(StopReason::Precision) => assert!(most == 0.0, "{seed}, {most}: {finding:?}"),
                _ => panic!("two inputs are decided: {finding:?}"),
            }
        }
        counts(&findings).iter().zip(&mut total).for_each(|(n, total)| *total += n);
    }
    assert!(total[0] > 50 && total[1] > 20 && total[2] <= 10, "{total:?}");
}

#[test]
fn no_patch_that_is_tried_changes_what_is_verified() {
    let mut stream = Stream(1);
    let (mut n_verified, mut n_falsified) = (0, 0);
    for seed in 10..13 {
        let attack = PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).unwrap();
        let setting = Setting::new(small(seed), PixelScale::identity(), attack, vec![image(seed)]);
        let tasks = setting.tasks();
        let findings = setting.run(&SweepOptions::default());
        n_falsified += setting.replay(&tasks, &findings);
        for (task, finding) in tasks.iter().zip(&findings) {
            if finding.verdict != PatchVerdict::Verified {
                continue;
            }
            n_verified += 1;
            assert!(finding.lower_bound.is_some_and(|bound| bound >= 0.0), "{finding:?}");
            for trial in 0..500 {
                // Half of them are corners.
                let mut value = |_: usize, _: usize| if trial % 2 == 0 { stream.unit() } else { stream.unit().round() };
                assert_eq!(setting.class_with(task, &mut value), setting.scenes[task.scene].class);
            }
        }
    }
    assert!(n_verified > 5 && n_falsified > 5, "{n_verified} {n_falsified}");
}

#[test]
fn colours_and_blends_are_searched_in_their_own_dimensions() {
    let overlay = Image::new([2, 5, 5], (0..50).map(|i| f64::from(i % 2)).collect()).unwrap();
    let beam = Stencil::stroke([5, 5], &[[0.5, 0.5], [4.5, 4.5]], 1.2).unwrap();
    let mut total = [0; 3];
    let scale = PixelScale::new(vec![0.4, 0.5], vec![0.25, 0.3]).unwrap();
    for seed in 20..28 {
        let colour = PatchAttack { patches: rectangle(3, 2), contents: Contents::Colour([0.1, 0.9]), channels: vec![] };
        let amount = [0.125, 0.875];
        let blend = PatchAttack {
            patches: vec![Patch { stencil: beam.clone(), positions: Positions::Drawn }],
            contents: Contents::Blend { overlay: overlay.clone(), amount },
            channels: vec![],
        };
        for attack in [colour, blend] {
            let is_blend = attack.patches[0].positions == Positions::Drawn;
            let setting = Setting::new(small(seed), scale.clone(), attack, vec![image(seed)]);
            let tasks = setting.tasks();
            let findings = setting.run(&SweepOptions::default());
            setting.replay(&tasks, &findings);
            let own = setting.scenes[0].image.clone();
            for (task, finding) in tasks.iter().zip(&findings) {
                let steps = 40;
                let is_changed = (0..=steps).any(|a| {
                    (0..=steps).any(|b| {
                        let share = |k: i32| f64::from(k) / f64::from(steps);
                        let mut value = |i: usize, _: usize| {
                            if is_blend {
                                let t = amount[0] + share(a) * (amount[1] - amount[0]);
                                own.pixels()[i] + t * (overlay.pixels()[i] - own.pixels()[i])
                            } else {
                                0.1 + 0.8 * share(if i < 25 { a } else { b })
                            }
                        };
                        setting.class_with(task, &mut value) != setting.scenes[0].class
                    })
                });
                match &finding.verdict {
                    PatchVerdict::Verified => assert!(!is_changed, "{finding:?}"),
                    PatchVerdict::Falsified(found) => {
                        assert_eq!(found.parameters.len(), if is_blend { 1 } else { 2 });
                        // One value for each channel, whatever the pixel.
                        let of_channel = |c: usize| found.inputs.iter().filter(move |(i, _)| i / 25 == c);
                        let is_one = |c: usize| of_channel(c).all(|(_, x)| *x == of_channel(c).next().unwrap().1);
                        assert!(is_blend || (is_one(0) && is_one(1)), "{found:?}");
                    }
                    _ => panic!("two parameters are decided: {finding:?}"),
                }
            }
            counts(&findings).iter().zip(&mut total).for_each(|(n, total)| *total += n);
        }
    }
    assert!(total[0] > 20 && total[1] > 10, "{total:?}");
}

#[test]
fn batches_cores_and_stops_change_no_verdict() {
    let setting = digits(PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).unwrap());
    let limits = Limits { subdomains: Some(6), ..Limits::default() };
    let options = SweepOptions { limits, ..SweepOptions::default() };
    let (tasks, whole) = (setting.tasks(), timeless(&setting.run(&options)));
    assert_eq!(whole, timeless(&setting.run(&SweepOptions { batch: 3, ..options.clone() })));
    // Alone a placement has bounds of its own, which say the same.
    let alone = setting.run(&SweepOptions { batch: 1, ..options.clone() });
    assert!(whole.iter().zip(&alone).all(|(one, other)| one.verdict.name() == other.verdict.name()));
    let has_block = |(one, other): (&Finding, &Finding)| one.lower_bound < other.lower_bound;
    assert!(whole.iter().zip(&alone).any(has_block), "no neighbours were verified as one");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(whole, timeless(&pool.install(|| setting.run(&options))));
    // What was open is refined as if there had been no stop, and the others' verdicts are their own.
    let open: Vec<usize> = (0..tasks.len()).filter(|&t| whole[t].stage == PatchStage::Refinement).collect();
    assert!(!open.is_empty());
    let mut first = vec![None; tasks.len()];
    let mut take = |findings: Vec<Finding>| {
        for finding in findings {
            let task = finding.task;
            first[task].get_or_insert(finding);
        }
    };
    setting.sweep(&Device::Host).run(&setting.scenes, &tasks, &options, &mut take).unwrap();
    let later: Vec<Task> =
        open.iter().map(|&t| Task { open: first[t].as_ref().unwrap().lower_bound, ..tasks[t].clone() }).collect();
    for (place, finding) in timeless(&setting.run_on(&Device::Host, &later, &options)).into_iter().enumerate() {
        assert_eq!(Finding { task: open[place], ..finding }, whole[open[place]]);
    }
}

#[test]
fn an_interrupt_stops_between_batches_and_tells_nothing_wrong() {
    let attack = PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).unwrap();
    let setting = Setting::new(small(3), PixelScale::identity(), attack, vec![image(3)]);
    let (tasks, interrupt) = (setting.tasks(), Interrupt::default());
    let options = SweepOptions { batch: 4, interrupt: interrupt.clone(), ..SweepOptions::default() };
    let mut told = 0;
    let mut take = |findings: Vec<Finding>| {
        told += findings.len();
        interrupt.raise();
    };
    setting.sweep(&Device::Host).run(&setting.scenes, &tasks, &options, &mut take).unwrap();
    assert_eq!(told, 4);
}

#[test]
fn the_budget_of_an_image_ends_its_refinement() {
    let setting = digits(PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).unwrap());
    let with = |images_s| setting.run(&SweepOptions { images_s, ..SweepOptions::default() });
    let (none, first) = (with(Some(vec![0.0; 2])), with(Some(vec![1e3, 0.0])));
    assert_eq!(timeless(&none), timeless(&with(Some(vec![-1.0; 2]))));
    let unknown = |findings: &[Finding], scene: usize| {
        let of_scene = |finding: &&Finding| setting.tasks()[finding.task].scene == scene;
        findings.iter().filter(of_scene).filter(|finding| finding.verdict.name() == "unknown").count()
    };
    let is_refined = |finding: &&Finding| finding.stage == PatchStage::Refinement;
    assert!(none.iter().filter(is_refined).count() > 0);
    assert!(none.iter().filter(is_refined).all(|finding| finding.verdict.name() == "unknown"));
    // Each image has a budget of its own.
    assert_eq!([unknown(&first, 0), unknown(&first, 1)], [0, unknown(&none, 1)]);
}

#[test]
fn shares_of_contents_are_those_of_samples() {
    let attack = PatchAttack::rectangle(2, 1, 1, [0.0, 1.0]).unwrap();
    let setting = Setting::new(small(2), PixelScale::identity(), attack, vec![image(2), image(52)]);
    let tasks = setting.tasks();
    let coverage = CoverageOptions { of_falsified: true, ..CoverageOptions::default() };
    let findings = setting.run(&SweepOptions { coverage: Some(coverage), ..SweepOptions::default() });
    let mut stream = Stream(5);
    let mut n = 0;
    for (task, finding) in tasks.iter().zip(&findings) {
        assert_eq!(finding.coverage.is_some(), finding.verdict != PatchVerdict::Verified);
        let Some(coverage) = finding.coverage else { continue };
        n += 1;
        let n_samples = 2000;
        let keeps = (0..n_samples)
            .filter(|_| setting.class_with(task, &mut |_, _| stream.unit()) == setting.scenes[task.scene].class)
            .count();
        let kept = keeps as f64 / f64::from(n_samples);
        // Five standard deviations of these samples, and the interval of those.
        let room = 5.0 * (0.25 / f64::from(n_samples)).sqrt();
        assert!(coverage.kept_interval.lower - room <= kept && kept <= coverage.kept_interval.upper + room);
        assert!(coverage.interval.lower <= coverage.kept_interval.upper && coverage.certified <= coverage.kept + 0.02);
    }
    assert!(n > 3);
}

#[test]
fn what_does_not_fit_is_said() {
    let attack = PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).unwrap();
    let mut setting = Setting::new(small(1), PixelScale::identity(), attack, vec![image(1)]);
    let scene = setting.scenes[0].clone();
    let said = |setting: &Setting, scene: &Scene, against| {
        let sweep = PatchSweep { against, ..setting.sweep(&Device::Host) };
        sweep.check(scene).unwrap_err().to_string()
    };
    let all = Against::AllOthers;
    let out = Scene { class: 3, ..scene.clone() };
    assert!(said(&setting, &out, all).contains("class 3 of a network with 3 outputs: classes count from 0"));
    assert!(said(&setting, &scene, Against::Target(9)).contains("the target is class 9 of a network with 3 outputs"));
    assert!(said(&setting, &scene, Against::Target(scene.class)).contains("the image's own"));
    let other = Scene { image: Image::new([1, 5, 5], vec![0.5; 25]).unwrap(), class: 0 };
    assert!(said(&setting, &other, all).contains("shape [2, 5, 5], which is no image of 1 × 5 × 5"));
    setting.scale = PixelScale::new(vec![0.5], vec![0.5]).unwrap();
    assert!(said(&setting, &scene, all).contains("the normalisation speaks of 1 channels, but the image has 2"));
    let task = Task { scene: 0, placement: Placement { corners: vec![[0, 0]] }, seed: 0, open: None };
    setting.scale = PixelScale::identity();
    let run =
        setting.sweep(&Device::Host).run(&[scene], &[Task { scene: 4, ..task }], &SweepOptions::default(), &mut |_| {});
    assert!(run.unwrap_err().to_string().contains("image 4 of 1"));
}

/// Two digits on the convolutional network of the examples.
fn digits(attack: PatchAttack) -> Setting {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let network = onnx::read(&examples.join("networks/digits_conv.onnx")).unwrap();
    let images = vec![
        Image::read_json(&examples.join("images/digit_1.json")).unwrap(),
        Image::read_npy(&examples.join("images/digit_4.npy")).unwrap(),
    ];
    Setting::new(network, PixelScale::identity(), attack, images)
}

#[test]
fn no_patch_changes_a_verified_digit() {
    // A hundred thousand each take minutes.
    let n_patches = std::env::var("DIADEM_PATCHES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let setting = digits(PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).unwrap());
    let tasks = setting.tasks();
    let findings = setting.run(&SweepOptions::default());
    setting.replay(&tasks, &findings);
    let verified: Vec<usize> =
        (0..tasks.len()).filter(|&t| findings[t].verdict == PatchVerdict::Verified).step_by(4).take(20).collect();
    assert_eq!(verified.len(), 20);
    verified.into_par_iter().for_each(|t| {
        let (class, bound) = (setting.scenes[tasks[t].scene].class, findings[t].lower_bound.unwrap());
        let mut stream = Stream(t as u64);
        let (mut worst, mut least) = ([0.5; 64], f64::INFINITY);
        for trial in 0..n_patches {
            // Anything, corners, and what is near the worst so far.
            let mut patch = worst;
            let kind = trial % 4;
            let is_new = |stream: &mut Stream| kind < 2 || stream.unit() < 0.3;
            for (pixel, _) in setting.attack.covered(&tasks[t].placement, [1, 8, 8]) {
                if is_new(&mut stream) {
                    let value = stream.unit();
                    patch[pixel] = if kind % 2 == 0 { value } else { value.round() };
                }
            }
            let y = setting.outputs_with(&tasks[t], &mut |i, _| patch[i]);
            let other = (0..y.len()).filter(|&k| k != class).map(|k| y[k]).fold(f64::NEG_INFINITY, f64::max);
            let margin = y[class] - other;
            assert!(margin > 0.0 && margin >= bound, "placement {t}: {margin} against {bound}");
            if margin < least {
                (worst, least) = (patch, margin);
            }
        }
    });
}

#[cfg(feature = "gpu")]
#[test]
fn a_device_gives_the_hosts_verdicts() {
    let Some(gpu) = adapter::device() else { return };
    let setting = digits(PatchAttack::rectangle(2, 2, 2, [0.0, 1.0]).unwrap());
    let options =
        SweepOptions { limits: Limits { subdomains: Some(200), ..Limits::default() }, ..SweepOptions::default() };
    let names = |findings: &[Finding]| findings.iter().map(|finding| finding.verdict.name()).collect::<Vec<_>>();
    let on_device = setting.run_on(&gpu, &setting.tasks(), &options);
    assert_eq!(names(&on_device), names(&setting.run(&options)));
}

#[test]
fn a_sweep_costs_a_fifth_of_single_questions() {
    let setting = digits(PatchAttack::rectangle(2, 2, 1, [0.0, 1.0]).unwrap());
    let tasks = setting.tasks();
    let findings = setting.run(&SweepOptions::default());
    // What bounds decide: the rest is searched for one by one in both.
    let by_bounds = |t: &usize| findings[*t].stage == PatchStage::Bounds;
    let tasks: Vec<Task> = (0..tasks.len()).filter(by_bounds).map(|t| tasks[t].clone()).collect();
    assert!(tasks.len() > 50);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let seconds = |work: &(dyn Fn() + Sync)| {
        pool.install(|| {
            let start = ThreadTime::now();
            work();
            start.elapsed().as_secs_f64()
        })
    };
    let together = seconds(&|| drop(setting.run_on(&Device::Host, &tasks, &SweepOptions::default())));
    let in_turn = SweepOptions { batch: 1, ..SweepOptions::default() };
    // Each with a program, bounds and an attack of its own.
    let alone = seconds(&|| {
        for task in &tasks {
            drop(setting.run_on(&Device::Host, std::slice::from_ref(task), &in_turn));
        }
    });
    let in_turn = seconds(&|| drop(setting.run_on(&Device::Host, &tasks, &in_turn)));

    let verified = seconds(&|| {
        let sweep = setting.sweep(&Device::Host);
        for task in &tasks {
            let scene = &setting.scenes[task.scene];
            let region = sweep.region(scene, task).hull().unwrap();
            let disjuncts = sweep.others(scene).unwrap().into_iter().map(|other| {
                let mut output = vec![(scene.class, [1.0; 2]), (other, [-1.0; 2])];
                output.sort_by_key(|(k, _)| *k);
                Disjunct { region: region.clone(), half_spaces: vec![HalfSpace { output, ..HalfSpace::default() }] }
            });
            let property = Property { n_inputs: 64, n_outputs: 10, disjuncts: disjuncts.collect() };
            let question = Verify { network: &setting.network, property: &property, device: &Device::Host };
            let outcome = question.run(&VerifyOptions::default(), &mut Silent).unwrap();
            assert_eq!(outcome.verdict, Verdict::Verified);
        }
    });
    let said = format!("{together} s together, {in_turn} s in turn, {alone} s alone, {verified} s by `Verify`");
    assert!(alone > together && verified > 5.0 * together, "{said}");
}
