//! Replays what the fuzzers found worth keeping, and seeded mutations of it.

use nrd_sim::hw::SplitMix;
use nrd_tests::fuzz::TARGETS;
use std::fs;
use std::path::Path;

/// Mutations of each kept input.
const MUTATIONS: u64 = 500;

fn mutate(bytes: &[u8], draw: &mut SplitMix) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=draw.below(4) {
        let at = draw.below(out.len() as u64 + 1) as usize;
        match draw.below(5) {
            0 => out.truncate(at),
            1 => out.insert(at, draw.draw() as u8),
            2 if at < out.len() => out[at] ^= 1 << draw.below(8),
            3 if at < out.len() => out[at] = draw.draw() as u8,
            _ => {
                let copy = out[at..].to_vec();
                out.extend(copy.into_iter().take(16));
            }
        }
    }
    out
}

#[test]
fn no_kept_input_and_no_mutation_of_one_breaks_a_parser() {
    let seed = std::env::var("NRD_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_124);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let mut draw = SplitMix(seed);
        let mut files: Vec<_> = fs::read_dir(corpus.join(name))
            .unwrap_or_else(|e| panic!("no corpus for {name}: {e}"))
            .map(|f| f.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus for {name}");
        for file in &files {
            let bytes = fs::read(file).unwrap();
            target(&bytes);
            for _ in 0..MUTATIONS {
                let mutated = mutate(&bytes, &mut draw);
                // Caught only to say which bytes broke it.
                if let Err(why) = std::panic::catch_unwind(|| target(&mutated)) {
                    println!("{name}: seed {seed}, {}: {mutated:02x?}", file.display());
                    std::panic::resume_unwind(why);
                }
            }
        }
        println!("{name}: {} inputs, {MUTATIONS} mutations each", files.len());
    }
}
