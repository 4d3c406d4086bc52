//! Networks layer by layer: models are built from this description, and costs are computed from it.
//!
//! Equal layers in a row are one [`Run`], so that the description of a network of 100,000 layers
//! is as short as that of one of ten.

use super::expression::Variable;
use super::{Activation, Gain, Norm};

/// The role of an affine map. It decides γ in the gain `sqrt(γ·fan_in/fan_out)` of the paper's
/// initialization, and which expression of an own initializer applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Followed by the activation, or the first convolution of a residual block.
    Activated,
    /// The second convolution of a residual block.
    Residual {
        /// Blocks in its stage.
        blocks: u32,
        /// The block's place in its stage, counted from 1.
        block: u32,
    },
    /// The 1×1 convolution of a shortcut.
    Shortcut,
    /// The first convolution of a residual network.
    Stem {
        /// Whether its γ is that of a layer without a ReLU.
        linear: bool,
    },
    /// The output layer: PyTorch's default, never weight-normalised.
    Head,
}

impl Role {
    /// γ of a layer: its squared gain without the fan ratio (Arpit, Campos & Bengio 2019,
    /// sections 3 and 4; for `hanin`, Hanin & Rolnick 2018 applied stage by stage).
    pub fn gamma(self, gain: Gain, activation: Activation) -> f64 {
        match self {
            Role::Activated | Role::Stem { linear: false } => activation.gamma(),
            Role::Shortcut | Role::Stem { linear: true } | Role::Head => 1.0,
            Role::Residual { block, .. } if gain == Gain::Hanin => 0.9f64.powi(2 * block as i32),
            Role::Residual { blocks, .. } => 1.0 / f64::from(blocks),
        }
    }
}

/// A linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Linear {
    pub role: Role,
    pub norm: Norm,
    pub inputs: u64,
    pub outputs: u64,
    pub activation: Activation,
}

/// A convolution, padded by half its kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Conv {
    pub role: Role,
    pub norm: Norm,
    pub inputs: u64,
    pub outputs: u64,
    pub kernel: u64,
    pub stride: u64,
    pub activation: Activation,
    /// Height × width of the result.
    pub places: u64,
}

impl Conv {
    /// Inputs, outputs and kernel.
    fn sizes(&self) -> [u64; 3] {
        [self.inputs, self.outputs, self.kernel]
    }
}

/// A batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct BatchNorm {
    pub channels: u64,
    /// Height × width.
    pub places: u64,
}

/// A residual block: two 3×3 convolutions and a shortcut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    norm: Norm,
    /// Whether a learnt scalar multiplies the branch.
    pub scaled: bool,
    /// Between its convolutions, and behind each batch norm.
    pub activation: Activation,
    /// Blocks in its stage.
    blocks: u32,
    inputs: u64,
    outputs: u64,
    stride: u64,
    /// Height × width of its input and of its result.
    places: [u64; 2],
}

impl Block {
    fn conv(&self, role: Role, inputs: u64, kernel: u64, stride: u64) -> Conv {
        let &Block { norm, outputs, places: [_, places], .. } = self;
        let activation = Activation::Linear;
        Conv { role, norm, inputs, outputs, kernel, stride, activation, places }
    }

    /// The first convolution; without batch norm it ends in the activation.
    pub fn conv1(&self) -> Conv {
        let conv = self.conv(Role::Activated, self.inputs, 3, self.stride);
        if self.norm == Norm::Batch { conv } else { Conv { activation: self.activation, ..conv } }
    }

    /// The second convolution of the stage's block of that number, counted from 1.
    pub fn conv2(&self, block: u32) -> Conv {
        let role = Role::Residual { blocks: self.blocks, block };
        self.conv(role, self.outputs, 3, 1)
    }

    /// The 1×1 convolution on the shortcut, if the block changes the shape.
    pub fn shortcut(&self) -> Option<Conv> {
        (self.inputs != self.outputs || self.stride > 1)
            .then(|| self.conv(Role::Shortcut, self.inputs, 1, self.stride))
    }

    /// The normalisations in front of each convolution.
    pub fn batch_norms(&self) -> Option<[BatchNorm; 2]> {
        let bn = |channels, places| BatchNorm { channels, places };
        let [before, after] = self.places;
        (self.norm == Norm::Batch).then(|| [bn(self.inputs, before), bn(self.outputs, after)])
    }
}

/// An affine map of a network, the output layer included.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The name of its parameters, such as `stages.0.1.conv2`.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// `in`, or `in·k·k`.
    pub fan_in: u64,
    /// `out`, or `out·k·k`.
    pub fan_out: u64,
    /// Its number from the input, from 1; see [`Variable::Layer`].
    layer: u32,
    /// Layers and residual blocks of the network.
    layers: u32,
    all_blocks: u32,
    /// The number of its residual block, and the blocks of the stage.
    block: Option<[u32; 2]>,
    activation: Activation,
}

impl Weight {
    /// The value of a variable for this layer.
    ///
    /// # Errors
    /// The layer is in no residual block, and the variable is about one.
    pub(super) fn value(&self, variable: Variable) -> Result<f64, String> {
        let in_block = |i: usize| match self.block {
            Some(numbers) => Ok(f64::from(numbers[i])),
            None => Err(format!("it is in no residual block, so {variable} has no value")),
        };
        Ok(match variable {
            Variable::FanIn => self.fan_in as f64,
            Variable::FanOut => self.fan_out as f64,
            Variable::Layer => self.layer.into(),
            Variable::Layers => self.layers.into(),
            Variable::Block => in_block(0)?,
            Variable::Blocks => in_block(1)?,
            Variable::AllBlocks => self.all_blocks.into(),
            Variable::Gamma => self.role.gamma(Gain::Proposed, self.activation),
        })
    }
}

/// A layer between the images and the class scores.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Layer {
    Linear(Linear),
    Conv(Conv),
    Block(Block),
    BatchNorm(BatchNorm),
    /// The mean over each channel.
    GlobalAveragePool,
}

/// Equal layers in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// The layers' name, in which `{}` stands for the number of each.
    name: &'static str,
    /// The number of the first one.
    first: u32,
    times: u32,
    /// The layer itself.
    pub layer: Layer,
}

impl Run {
    /// Each layer with its number and its name.
    pub fn each(self) -> impl Iterator<Item = (u32, String, Layer)> {
        (self.first..self.first + self.times)
            .map(move |i| (i, self.name.replace("{}", &i.to_string()), self.layer))
    }

    /// Its number of layers.
    pub(crate) fn times(&self) -> u64 {
        self.times.into()
    }
}

/// The layers of a network, added one after the other.
#[derive(Clone, Debug)]
pub struct Network {
    norm: Norm,
    scaled: bool,
    activation: Activation,
    /// Channels, height and width of the last layer's output.
    channels: u64,
    size: [u64; 2],
    runs: Vec<Run>,
}

impl Network {
    pub(super) fn new(
        [channels, height, width]: [usize; 3],
        norm: Norm,
        activation: Activation,
        scaled: bool,
    ) -> Network {
        let size = [height as u64, width as u64];
        let (channels, runs) = (channels as u64, Vec::new());
        Network { norm, activation, scaled, channels, size, runs }
    }

    /// The layers from the images to the class scores, the head included.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Every affine map, in the order of the forward pass; a shortcut follows the convolutions of
    /// its block.
    pub fn weights(&self) -> impl Iterator<Item = Weight> {
        let (mut layers, mut all_blocks) = (0, 0);
        for run in &self.runs {
            match run.layer {
                Layer::Linear(Linear { role: Role::Head, .. }) => {}
                Layer::Linear(_) | Layer::Conv(_) => layers += run.times,
                Layer::Block(_) => {
                    (layers, all_blocks) = (layers + 2 * run.times, all_blocks + run.times)
                }
                Layer::BatchNorm(_) | Layer::GlobalAveragePool => {}
            }
        }
        let (mut layer, activation) = (0, self.activation);
        let each = self.runs.iter().flat_map(|run| run.each());
        each.flat_map(move |(number, name, described)| {
            let mut all = Vec::new();
            let mut add = |name: String, role, [inputs, outputs, kernel]: [u64; 3], block, step| {
                layer += step;
                let (fan_in, fan_out) = (inputs * kernel * kernel, outputs * kernel * kernel);
                all.push(Weight {
                    name,
                    role,
                    fan_in,
                    fan_out,
                    layer,
                    layers,
                    all_blocks,
                    block,
                    activation,
                });
            };
            match described {
                Layer::Linear(Linear { role, inputs, outputs, .. }) => {
                    add(name, role, [inputs, outputs, 1], None, 1);
                }
                Layer::Conv(conv) => add(name, conv.role, conv.sizes(), None, 1),
                Layer::Block(block) => {
                    let numbers = Some([number + 1, block.blocks]);
                    let (first, second) = (block.conv1(), block.conv2(number + 1));
                    add(format!("{name}.conv1"), first.role, first.sizes(), numbers, 1);
                    add(format!("{name}.conv2"), second.role, second.sizes(), numbers, 1);
                    if let Some(conv) = block.shortcut() {
                        add(format!("{name}.shortcut"), conv.role, conv.sizes(), numbers, 0);
                    }
                }
                Layer::BatchNorm(_) | Layer::GlobalAveragePool => {}
            }
            all
        })
    }

    /// Whether images are flattened before the first layer.
    pub fn takes_flat_images(&self) -> bool {
        matches!(self.runs.first(), Some(Run { layer: Layer::Linear(_), .. }))
    }

    fn places(&self) -> u64 {
        self.size.iter().product()
    }

    /// Whether a layer of this channel count and stride keeps the shape.
    fn keeps_shape(&self, outputs: u64, stride: u64) -> bool {
        self.channels == outputs && stride == 1
    }

    fn push(&mut self, name: &'static str, times: u32, layer: Layer) {
        let first = self.runs.iter().filter(|run| run.name == name).map(|run| run.times).sum();
        self.runs.push(Run { name, first, times, layer });
    }

    /// Adds `times` layers: the first alone if it changes the shape, the rest as one run.
    fn repeat(
        &mut self,
        name: &'static str,
        times: u32,
        [outputs, stride]: [u64; 2],
        layer: impl Fn(&Network, [u64; 2]) -> Layer,
    ) {
        let mut left = times;
        while left > 0 {
            let run = if self.keeps_shape(outputs, stride) { left } else { 1 };
            let before = self.places();
            let inputs = self.channels;
            self.channels = outputs;
            self.size = self.size.map(|size| size.div_ceil(stride));
            let layer = layer(self, [inputs, before]);
            self.push(name, run, layer);
            left -= run;
        }
    }

    /// `times` linear layers with activations; images are flattened before the first.
    pub(super) fn linear(&mut self, name: &'static str, times: u32, outputs: u64) {
        let (norm, activation) = (self.norm, self.activation);
        (self.channels, self.size) = (self.channels * self.places(), [1, 1]);
        self.repeat(name, times, [outputs, 1], |_, [inputs, _]| {
            Layer::Linear(Linear { role: Role::Activated, norm, inputs, outputs, activation })
        });
    }

    /// `times` 3×3 convolutions, `activated` or not.
    pub(super) fn conv(
        &mut self,
        name: &'static str,
        times: u32,
        [outputs, stride]: [u64; 2],
        role: Role,
        activated: bool,
    ) {
        let (norm, kernel) = (self.norm, 3);
        let activation = if activated { self.activation } else { Activation::Linear };
        self.repeat(name, times, [outputs, stride], |net, [inputs, _]| {
            let places = net.places();
            Layer::Conv(Conv { role, norm, inputs, outputs, kernel, stride, activation, places })
        });
    }

    /// Three stages of residual blocks; the second and the third start with stride 2.
    pub(super) fn stages(&mut self, blocks: u32, widths: [u64; 3]) {
        let Network { norm, activation, scaled, .. } = *self;
        let names = ["stages.0.{}", "stages.1.{}", "stages.2.{}"];
        for ((name, outputs), first) in names.into_iter().zip(widths).zip([1, 2, 2]) {
            for (times, stride) in [(1, first), (blocks - 1, 1)] {
                self.repeat(name, times, [outputs, stride], |net, [inputs, before]| {
                    let places = [before, net.places()];
                    Layer::Block(Block {
                        norm,
                        activation,
                        scaled,
                        blocks,
                        inputs,
                        outputs,
                        stride,
                        places,
                    })
                });
            }
        }
    }

    /// Adds a batch norm if the network has them.
    pub(super) fn batch_norm(&mut self, name: &'static str) {
        if self.norm == Norm::Batch {
            let bn = BatchNorm { channels: self.channels, places: self.places() };
            self.push(name, 1, Layer::BatchNorm(bn));
        }
    }

    pub(super) fn global_average_pool(&mut self) {
        self.size = [1, 1];
        self.push("pool", 1, Layer::GlobalAveragePool);
    }

    pub(super) fn head(mut self, classes: usize) -> Network {
        let (inputs, outputs) = (self.channels, classes as u64);
        let activation = Activation::Linear;
        let head = Linear { role: Role::Head, norm: Norm::None, inputs, outputs, activation };
        self.push("head", 1, Layer::Linear(head));
        self
    }
}
