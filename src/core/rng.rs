//! Random streams named by (seed, purpose, epoch).
//!
//! Each purpose has its own stream, so that draws do not depend on other draws: on the neighbours in a
//! cohort, the number of workers, or an interruption. Draws happen on the CPU and are the same on
//! every machine.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A stream of random numbers.
pub type Stream = ChaCha8Rng;

/// The stream of a purpose, such as `"order"` or `"init/hidden.3.weight_v"`, in an epoch (0 if epochs do
/// not apply).
pub fn stream(seed: u64, purpose: &str, epoch: u64) -> Stream {
    let mut hash = Sha256::new();
    hash.update(format!("wninit stream 1\n{seed}\n{epoch}\n{purpose}"));
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// 0, 1, …, n−1 in random order.
pub fn permutation(n: usize, stream: &mut Stream) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.shuffle(stream);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_depend_on_seed_purpose_and_epoch_alone() {
        let first = |seed, purpose, epoch| stream(seed, purpose, epoch).random::<u64>();
        assert_eq!(first(1, "order", 2), first(1, "order", 2));
        let others = [
            first(2, "order", 2),
            first(1, "split", 2),
            first(1, "order", 3),
            first(12, "order", 0),
        ];
        assert!(others.iter().all(|&x| x != first(1, "order", 2)));
    }
}
