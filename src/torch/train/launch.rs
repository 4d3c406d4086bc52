//! Launches repeated work. On a GPU it is recorded as a CUDA graph the second time and then
//! replayed, because a small network's step is hundreds of kernels, each of which takes longer to
//! launch than to run.

use std::collections::HashMap;

use tch::{Device, Tensor};

use super::recorder::{Recorder, Recording};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Work {
    Step,
    Validation,
    Test,
}

/// Recorded work, with fixed memory for inputs and outputs.
struct Recorded {
    recording: Recording,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// By what recorded work is found.
type Key = (Work, Vec<i64>);

fn key(work: Work, inputs: &[Tensor]) -> Key {
    (work, inputs.iter().flat_map(Tensor::size).collect())
}

pub(crate) struct Launcher {
    /// `None` if nothing is recorded.
    recorder: Option<Recorder>,
    /// By work and input sizes; `None` after the first, unrecorded time.
    known: HashMap<Key, Option<Recorded>>,
    /// The error because of which nothing is recorded on a GPU.
    graph_error: Option<String>,
}

impl Launcher {
    pub(crate) fn new(device: Device) -> Launcher {
        Launcher::with(Recorder::of(device))
    }

    /// One that records operators on the CPU.
    #[cfg(test)]
    pub(crate) fn of_operators() -> Launcher {
        Launcher::with(Ok(Some(Recorder::Operators)))
    }

    /// One of the same kind that has recorded nothing.
    pub(crate) fn another(&self) -> Launcher {
        Launcher::with(self.recorder.map(Recorder::another).transpose())
    }

    fn with(recorder: Result<Option<Recorder>, String>) -> Launcher {
        let (recorder, graph_error) = match recorder {
            Ok(recorder) => (recorder, None),
            Err(why) => (None, Some(why)),
        };
        Launcher { recorder, known: HashMap::new(), graph_error }
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
        let Some(recorder) = self.recorder else { return body(&inputs) };
        let key = key(work, &inputs);
        match self.known.get(&key) {
            // On the first call, libraries choose their algorithms and buffers are allocated.
            None => {
                self.known.insert(key, None);
                body(&inputs)
            }
            Some(None) => {
                let fixed: Vec<Tensor> = inputs.iter().map(Tensor::copy).collect();
                match recorder.record(|| body(&fixed)) {
                    Ok((recording, outputs)) => {
                        let recorded = Recorded { recording, inputs: fixed, outputs };
                        let outputs = recorded.replay(&inputs);
                        self.known.insert(key, Some(recorded));
                        outputs
                    }
                    Err(why) => {
                        // Recording computes nothing, so only time is lost.
                        self.recorder = None;
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
        self.recorder.is_some() && self.known.keys().all(|(known, _)| *known != work)
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
        if self.recorder.is_some() {
            *self = self.another();
        }
    }

    /// The work of which there is a recording, once for each size of its inputs.
    #[cfg(test)]
    pub(crate) fn recorded(&self) -> Vec<Work> {
        let recorded = self.known.iter().filter(|(_, recorded)| recorded.is_some());
        let mut work: Vec<Work> = recorded.map(|((work, _), _)| *work).collect();
        work.sort();
        work
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
        self.recording.replay(&self.outputs)
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
    use wninit_core::job::{Activation, Arch, Norm};

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
                let config = ModelConfig {
                    arch,
                    activation: Activation::Relu,
                    norm,
                    branch_scale: matches!(arch, Arch::ResNet { .. }).then_some(1.0),
                    input: [3, 8, 8],
                    classes: 4,
                    arithmetic,
                };
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

    /// The results of five calls and the state at last, not recorded and recorded, and the error of the
    /// recording. `body` gets its state, 0 at first, and an input: 0, 1, ….
    fn results(
        mut body: impl FnMut(&mut Tensor, &Tensor) -> Tensor,
    ) -> ([Vec<f64>; 2], Option<String>) {
        let _no_grad = tch::no_grad_guard();
        let filled = |number: u8| Tensor::full([3], f64::from(number), (Kind::Double, Device::Cpu));
        let second = |tensor: &Tensor| tensor.get(1).double_value(&[]);
        let mut launchers = [Launcher::new(Device::Cpu), Launcher::of_operators()];
        let results = launchers.each_mut().map(|launcher| {
            let mut state = filled(0);
            let mut call = |i: u8| {
                let run = |inputs: &[Tensor]| vec![body(&mut state, &inputs[0])];
                second(&launcher.run(Work::Step, vec![filled(i)], run)[0])
            };
            let mut results: Vec<f64> = (0..5).map(&mut call).collect();
            results.push(second(&state));
            results
        });
        (results, launchers[1].take_graph_error())
    }

    #[test]
    fn work_by_the_rules_is_replayed() {
        // In place, by views, with a result that is a list, and one that is written to a given tensor.
        let ([eager, recorded], error) = results(|state, x| {
            let halves = (x * 2.0).unsqueeze(0).expand([4, 3], false).contiguous().split(2, 0);
            let mut sum = x.empty_like();
            let _ = halves[0].get(0).add_out(&sum.shallow_clone(), &halves[1].get(1));
            sum += &*state;
            let _ = state.narrow(0, 1, 1).g_add_(&sum.narrow(0, 1, 1));
            sum
        });
        assert_eq!(error, None);
        assert_eq!(eager, [0.0, 4.0, 12.0, 28.0, 60.0, 104.0]);
        assert_eq!(recorded, eager);
    }

    #[test]
    fn work_against_the_rules_is_found() {
        type Body = fn(&mut Tensor, &Tensor) -> Tensor;
        const X: f64 = f64::NAN;
        let against: [(&str, Body, [f64; 6], [f64; 6]); 3] = [
            (
                "it replaces its state; what the recording reads was freed",
                |state, x| {
                    *state = &*state + x + 1.0;
                    &*state * 1.0
                },
                [1.0, 3.0, 6.0, 10.0, 15.0, 15.0],
                [1.0, X, X, X, X, X],
            ),
            (
                "it keeps a tensor that the recording made, for others to read",
                |state, x| {
                    *state = x * 2.0;
                    x * 1.0
                },
                [0.0, 1.0, 2.0, 3.0, 4.0, 8.0],
                [0.0, 1.0, 2.0, 3.0, 4.0, X],
            ),
            (
                "it copies numbers of the host",
                |_, x| x + Tensor::from_slice(&[1.0, 2.0, 3.0]),
                [2.0, 3.0, 4.0, 5.0, 6.0, 0.0],
                [2.0, 1.0, 2.0, 3.0, 4.0, 0.0],
            ),
        ];
        // NaNs are equal here.
        let text = |results: &[f64]| format!("{results:?}");
        for (what, body, expected, found) in against {
            let ([eager, recorded], error) = results(body);
            assert_eq!(text(&eager), text(&expected), "{what}");
            assert_eq!((text(&recorded), error), (text(&found), None), "{what}");
        }
        // Memory that it has not written.
        let ([_, recorded], _) = results(|_, x| x.empty_like());
        assert!(recorded[1..5].iter().all(|number| number.is_nan()), "{recorded:?}");
        // A number that changes and is no input.
        let mut calls = 0.0;
        let ([eager, recorded], _) = results(|_, x| {
            calls += 1.0;
            x * calls
        });
        assert_eq!(eager, [0.0, 2.0, 6.0, 12.0, 20.0, 0.0]);
        assert_eq!(recorded, [0.0, 7.0, 14.0, 21.0, 28.0, 0.0]);
    }

    #[test]
    fn what_a_graph_cannot_contain_is_refused_by_name_and_run_directly() {
        type Body = fn(&Tensor) -> Tensor;
        let refused: [(&str, Body); 6] = [
            ("aten::item", |x| x * x.get(0).double_value(&[])),
            ("aten::equal", |x| x * f64::from(u8::from(x.equal(&(x * 1.0))))),
            ("aten::nonzero", |x| x + x.nonzero().size()[0]),
            ("aten::masked_select", |x| x + x.masked_select(&x.ge(0.0)).size()[0]),
            ("aten::rand_like", |x| x + x.rand_like() * 0.0),
            ("aten::unsqueeze_", |x| (x * 1.0).unsqueeze_(0).squeeze_dim(0)),
        ];
        for (name, body) in refused {
            let ([eager, recorded], error) = results(|_, x| body(x));
            let error = error.unwrap_or_default();
            assert!(error.contains(&format!("{name} cannot be recorded")), "{name}: {error}");
            assert_eq!(recorded, eager, "{name}");
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
