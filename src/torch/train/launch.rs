//! Launches repeated work. On a GPU it is recorded as a CUDA graph the second time and then
//! replayed, because a small network's step is hundreds of kernels, each of which takes longer to
//! launch than to run.

use std::collections::HashMap;

use tch::{Device, Tensor};

use crate::ffi::cuda_graph::{Graph, GraphMemory};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    Step,
    Validation,
    Test,
}

/// Recorded work, with fixed memory for inputs and outputs.
struct Recorded {
    graph: Graph,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// By what recorded work is found.
type Key = (Work, Vec<i64>);

fn key(work: Work, inputs: &[Tensor]) -> Key {
    (work, inputs.iter().flat_map(Tensor::size).collect())
}

pub(crate) struct Launcher {
    device: Device,
    /// Shared by all graphs; `None` if nothing is recorded.
    memory: Option<GraphMemory>,
    /// By work and input sizes; `None` after the first, unrecorded time.
    known: HashMap<Key, Option<Recorded>>,
    /// The error because of which nothing is recorded on a GPU.
    graph_error: Option<String>,
}

impl Launcher {
    pub(crate) fn new(device: Device) -> Launcher {
        let mut launcher =
            Launcher { device, memory: None, known: HashMap::new(), graph_error: None };
        launcher.renew_memory();
        launcher
    }

    fn renew_memory(&mut self) {
        let Device::Cuda(gpu) = self.device else { return };
        match GraphMemory::new(gpu) {
            Ok(memory) => self.memory = Some(memory),
            Err(why) => self.graph_error = Some(why),
        }
    }

    /// Runs `body` on `inputs`.
    ///
    /// Since it may be recorded, everything in `body` that changes between calls must be an input, it
    /// must update tensors in place, and it must not read from the device. Call [`Launcher::forget`]
    /// after replacing any other tensor that it uses.
    pub(crate) fn run(
        &mut self,
        work: Work,
        inputs: Vec<Tensor>,
        mut body: impl FnMut(&[Tensor]) -> Vec<Tensor>,
    ) -> Vec<Tensor> {
        let Some(memory) = self.memory else { return body(&inputs) };
        let key = key(work, &inputs);
        match self.known.get(&key) {
            // On the first call, libraries choose their algorithms and buffers are allocated.
            None => {
                self.known.insert(key, None);
                body(&inputs)
            }
            Some(None) => {
                let fixed: Vec<Tensor> = inputs.iter().map(Tensor::copy).collect();
                match Graph::record(memory, || body(&fixed)) {
                    Ok((graph, outputs)) => {
                        let recorded = Recorded { graph, inputs: fixed, outputs };
                        let outputs = recorded.replay(&inputs);
                        self.known.insert(key, Some(recorded));
                        outputs
                    }
                    Err(why) => {
                        // Recording computes nothing, so only time is lost.
                        self.memory = None;
                        self.graph_error = Some(why);
                        self.known.clear();
                        body(&inputs)
                    }
                }
            }
            Some(Some(recorded)) => recorded.replay(&inputs),
        }
    }

    /// Whether work is recorded, but none of this kind was run yet.
    pub(crate) fn will_record(&self, work: Work) -> bool {
        self.memory.is_some() && self.known.keys().all(|(known, _)| *known != work)
    }

    /// The first, unrecorded time of work that is due later, now that nothing is recorded and all
    /// memory is free. `body` must leave everything as it was.
    pub(crate) fn rehearse(&mut self, work: Work, inputs: &[Tensor], body: impl FnOnce(&[Tensor])) {
        body(inputs);
        self.known.insert(key(work, inputs), None);
    }

    /// Drops all recorded work. What is run from now on is recorded again.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        if self.memory.take().is_some() {
            self.renew_memory();
        }
    }

    /// The error because of which nothing is recorded; `None` from the second call on.
    pub(crate) fn take_graph_error(&mut self) -> Option<String> {
        self.graph_error.take()
    }
}

impl Recorded {
    fn replay(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        for (ours, theirs) in self.inputs.iter().zip(inputs) {
            ours.shallow_clone().copy_(theirs);
        }
        self.graph.replay();
        self.outputs.iter().map(Tensor::copy).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use tch::Kind;

    use super::*;
    use crate::models::{Model, ModelConfig};
    use crate::nn::{Arithmetic, Pass, Sgd};
    use wninit_core::job::{Arch, Norm};

    /// The addresses of all state that a model keeps from step to step.
    fn addresses(model: &mut Model) -> BTreeMap<String, usize> {
        let mut addresses = BTreeMap::new();
        let mut keep = |name: &str, tensor: &Tensor| {
            addresses.insert(name.to_owned(), tensor.data_ptr() as usize);
        };
        for param in model.params() {
            keep(&param.name, &param.value);
            keep(&format!("momentum of {}", param.name), param.momentum.as_ref().unwrap());
        }
        model.buffers().into_iter().for_each(|buffer| keep(&buffer.name, &buffer.value));
        for affine in model.affines() {
            keep(&format!("effective weight of {}", affine.name), &affine.weight());
        }
        addresses
    }

    #[test]
    fn a_step_updates_all_state_in_place() {
        tch::set_num_threads(1);
        let _no_grad = tch::no_grad_guard();
        let cpu = Device::Cpu;
        let double = Arithmetic { device: cpu, params: Kind::Double, compute: Kind::Double };
        for arithmetic in [Arithmetic::fp32(cpu), Arithmetic::bf16(cpu), double] {
            for (arch, norm) in [
                (Arch::Mlp { depth: 2, width: 5 }, Norm::Weight),
                (Arch::Mlp { depth: 2, width: 5 }, Norm::None),
                (Arch::ResNet { blocks: 1, width: 2 }, Norm::Weight),
                (Arch::ResNet { blocks: 1, width: 2 }, Norm::Batch),
            ] {
                let config = ModelConfig { arch, norm, input: [3, 8, 8], classes: 4, arithmetic };
                let mut model = Model::zeros(config, 2);
                for param in model.params() {
                    let _ = param.value.uniform_(0.1, 0.2);
                }
                model.refresh();
                let x = Tensor::rand([2, 6, 3, 8, 8], (Kind::Float, cpu));
                let y = Tensor::zeros([2, 6], (Kind::Int64, cpu));
                let each = |number: f32| Tensor::from_slice(&[number; 2]);
                let sgd = Sgd::new(each(0.1), each(0.9), Some(each(0.1)));
                let step = |model: &mut Model| {
                    model.train_step(&x, &y, Some(&sgd), 4, false);
                };
                step(&mut model);
                let (before, was) = (addresses(&mut model), model.logits(&x, &mut Pass::Evaluate));
                step(&mut model);
                assert_eq!(addresses(&mut model), before, "{arch:?} {norm:?} {arithmetic:?}");
                let is = model.logits(&x, &mut Pass::Evaluate);
                assert!(!is.equal(&was), "{arch:?} {norm:?}: the step changed something");
            }
        }
    }

    #[test]
    fn without_a_gpu_work_is_run_directly_each_time() {
        let mut launcher = Launcher::new(Device::Cpu);
        let mut calls = 0;
        for i in 0..5 {
            let outputs = launcher.run(Work::Step, vec![Tensor::from(i)], |inputs| {
                calls += 1;
                vec![&inputs[0] * 2]
            });
            assert_eq!(i64::try_from(&outputs[0]).unwrap(), 2 * i);
        }
        assert_eq!((calls, launcher.take_graph_error()), (5, None));
    }
}
