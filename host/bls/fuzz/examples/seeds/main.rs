//! Writes the seeds of the corpus: valid encodings, and those that are wrong in one way each.
//!
//! `cargo run --release --example seeds` in this crate's folder. The same bytes each time; other files in the corpus, which
//! people put there because they found something, are left alone.

mod evidence;
mod keystores;
mod points;
mod secrets;

use std::path::Path;

use eigenshift_types::U256;

/// Seeds of one target, with names that say what they are.
type Seeds = Vec<(String, Vec<u8>)>;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let (mut files, mut bytes) = (0, 0);
    for (target, seeds) in [
        ("any_points", points::any()),
        ("bls12381_points", points::bls12381()),
        ("bn254_points", points::bn254()),
        ("evidence", evidence::seeds()),
        ("keystores", keystores::seeds()),
        ("secrets", secrets::seeds()),
    ] {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, seed) in seeds {
            assert!(seed.len() < 4096, "{target}/{name} is too long for a seed");
            (files, bytes) = (files + 1, bytes + seed.len());
            std::fs::write(folder.join(name), seed)?;
        }
    }
    println!("{files} seeds of {bytes} bytes in {}", corpus.display());
    Ok(())
}

/// The secret key that is this number.
fn number(n: u64) -> [u8; 32] {
    U256::from(n).to_be_bytes()
}
