//! What verifying evidence costs in Node.js, beside native code in the same run:
//! `browser/build.sh && cargo run --release -p phala-attestation-browser --example bench -- PACKAGE`, with the folder that
//! `browser/build.sh` prints. Needs recorded evidence.

#[path = "../tests/recorded/mod.rs"]
mod recorded;

use codec::Encode;
use phala_attestation_browser::answer;
use std::{env, fs, hint::black_box, path::Path, process::Command, time::Instant};

const RUNS: usize = 50;

fn main() {
    let package = env::args().nth(1).expect("the folder that browser/build.sh prints");
    let folder = recorded::folder().expect("there is recorded evidence");
    for (files, at) in recorded::ALL {
        let paths: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
        let contents: Vec<_> = paths.iter().map(|path| fs::read(path).expect("it is there")).collect();
        let request = (0u8, contents, Some(recorded::LENIENT), at).encode();
        if !answer(&request).contains(r#""accepted":true"#) {
            continue;
        }
        let run = || {
            let start = Instant::now();
            black_box(answer(&request));
            start.elapsed().as_secs_f64() * 1000.
        };
        let mut times: Vec<_> = (0..RUNS).map(|_| run()).collect();
        times.sort_by(f64::total_cmp);
        let native = times[RUNS / 2];
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bench.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(&package).args([RUNS.to_string(), at.to_string(), recorded::LENIENT.into()]).args(&paths);
        let output = node.output().expect("Node.js is installed");
        let text = String::from_utf8_lossy(&output.stdout);
        let [loading, first, module] =
            text.split_whitespace().map(|time| time.parse::<f64>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        };
        println!(
            "{}: native {native:.2} ms, Node.js {module:.2} ms, ratio {:.1}; loading {loading:.1} ms, first {first:.1} ms",
            files[0],
            module / native
        );
    }
}
