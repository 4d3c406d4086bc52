//! The two kinds of recording that `launch.rs` makes: CUDA graphs, and in tests their model on the CPU.

use tch::{Device, Tensor};

use crate::ffi::cuda_graph::{Graph, GraphMemory};

/// What records work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recorder {
    /// CUDA graphs that share memory.
    Graphs(GraphMemory),
    /// Operators on the CPU, replayed as a graph's kernels would be.
    #[cfg(test)]
    Operators,
}

pub(super) enum Recording {
    Graph(Graph),
    #[cfg(test)]
    Operators(wninit_torch_replay::Recording),
}

impl Recorder {
    /// `None` on the CPU, where nothing is recorded.
    ///
    /// # Errors
    /// libtorch's message.
    pub(super) fn of(device: Device) -> Result<Option<Recorder>, String> {
        let Device::Cuda(gpu) = device else { return Ok(None) };
        GraphMemory::new(gpu).map(|memory| Some(Recorder::Graphs(memory)))
    }

    /// One of the same kind. Graphs need other memory once those that shared it are dropped.
    ///
    /// # Errors
    /// libtorch's message.
    pub(super) fn another(self) -> Result<Recorder, String> {
        match self {
            Recorder::Graphs(memory) => GraphMemory::new(memory.gpu).map(Recorder::Graphs),
            #[cfg(test)]
            Recorder::Operators => Ok(self),
        }
    }

    /// Records `work` without running it. The tensors it returns have memory, but no contents yet.
    ///
    /// # Errors
    /// A message, if `work` cannot be recorded.
    pub(super) fn record(
        self,
        work: impl FnOnce() -> Vec<Tensor>,
    ) -> Result<(Recording, Vec<Tensor>), String> {
        match self {
            Recorder::Graphs(memory) => Graph::record(memory, work)
                .map(|(graph, outputs)| (Recording::Graph(graph), outputs)),
            #[cfg(test)]
            Recorder::Operators => match wninit_torch_replay::Recording::record(work) {
                Ok((operators, outputs)) => Ok((Recording::Operators(operators), outputs)),
                Err(panic) => Err(super::failure::panic_message(&*panic).to_owned()),
            },
        }
    }
}

impl Recording {
    /// Copies of the outputs that it computes.
    pub(super) fn replay(&self, outputs: &[Tensor]) -> Vec<Tensor> {
        let copies = || outputs.iter().map(Tensor::copy).collect();
        match self {
            Recording::Graph(graph) => {
                graph.replay();
                copies()
            }
            #[cfg(test)]
            Recording::Operators(operators) => {
                operators.replay();
                let copies = copies();
                operators.poison();
                copies
            }
        }
    }
}
