use std::sync::Arc;
use bounds::*;
use network::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let net = Arc::new(network::onnx::read(args[1].as_ref()).unwrap().simplify().unwrap());
    let prop = network::vnnlib::read(args[2].as_ref()).unwrap();
    let scale: f64 = args[3].parse().unwrap();
    let batch: usize = args[4].parse().unwrap();
    let region = &prop.disjuncts[0].region;
    for n in net.nodes() { eprintln!("{} {:?}", n.name, n.shape); }
    let device = Device::Host;
    let engine = BoundEngine::new(&device, Arc::clone(&net), region, Recipe { both_ends: true, ..Recipe::default() }).unwrap();
    let mut seed = 1u64;
    let mut unit = || { seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); (seed >> 33) as f64 / (1u64 << 31) as f64 };
    let mut b = Batch::default();
    for _ in 0..batch {
        for (l, u) in region.lower.iter().zip(&region.upper) {
            let w = (u - l) / scale;
            let c = l + w / 2.0 + (u - l - w) * unit();
            b.lower.push(((c - w / 2.0) as f32).max(engine.region().lower[0].min(*l as f32)));
            b.upper.push((c + w / 2.0) as f32);
        }
    }
    for _ in 0..5 {
        let t = std::time::Instant::now();
        let r = engine.bound(&b, Wanted::default()).unwrap();
        let s = t.elapsed().as_secs_f64();
        let width: f64 = r.lower.iter().zip(&r.upper).map(|(l, u)| u - l).sum::<f64>() / r.lower.len() as f64;
        println!("{:.0}/s ({:.0} per core) unstable {:.1} rows {:.1} width {width}", batch as f64 / s, batch as f64 / s / rayon::current_num_threads() as f64, r.n_unstable as f64 / batch as f64, r.n_rows as f64 / batch as f64);
    }
}
