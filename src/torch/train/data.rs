//! A data set on a device.

use tch::kind::Element;
use tch::{Device, Tensor};

use wninit_core::data::{Data, Images, Loaded, Moments, Pixel};

/// Images and labels on a device.
pub struct DeviceImages {
    /// Bytes, or floating-point numbers of a user's file, `[image, channel, height, width]`.
    pub pixels: Tensor,
    /// Class indices `[image]`, 64-bit integers.
    pub labels: Tensor,
}

impl DeviceImages {
    fn new<P: Pixel + Element>(images: &Images<P>, device: Device) -> DeviceImages {
        let [c, h, w] = images.shape.map(|size| size as i64);
        let pixels = Tensor::from_slice(&images.pixels).view([-1, c, h, w]);
        let labels = Tensor::from_slice(&images.labels);
        DeviceImages { pixels: pixels.to_device(device), labels: labels.to_device(device) }
    }

    pub(super) fn shallow_clone(&self) -> DeviceImages {
        DeviceImages { pixels: self.pixels.shallow_clone(), labels: self.labels.shallow_clone() }
    }

    /// The images at `indices [member, batch]`, as `[member, batch, channel, height, width]`, and
    /// their labels `[member, batch]`.
    pub fn gather(&self, indices: &Tensor) -> (Tensor, Tensor) {
        let size = indices.size();
        let flat = indices.flatten(0, 1);
        let labels = self.labels.index_select(0, &flat).view(&size[..]);
        let pixels = self.pixels.index_select(0, &flat);
        let shape = [&size[..], &pixels.size()[1..]].concat();
        (pixels.view(&shape[..]), labels)
    }
}

/// The images of a data set on a device.
pub struct DeviceData {
    /// Training images, validation images included.
    pub train: DeviceImages,
    /// Test images; of a data set without a test set, the same images as in `train`.
    pub test: DeviceImages,
    /// Moments of the training images.
    pub moments: Moments,
}

impl DeviceData {
    pub(super) fn new<P: Pixel + Element>(data: &Data<P>, device: Device) -> DeviceData {
        let train = DeviceImages::new(&data.train, device);
        let test = match data.dataset.undivided() {
            Some(_) => train.shallow_clone(),
            None => DeviceImages::new(&data.test, device),
        };
        DeviceData { train, test, moments: Moments::of(&data.train) }
    }

    pub(super) fn of(loaded: &Loaded, device: Device) -> DeviceData {
        match loaded {
            Loaded::Bytes(data) => DeviceData::new(data, device),
            Loaded::Floats(data) => DeviceData::new(data, device),
        }
    }

    pub(super) fn shallow_clone(&self) -> DeviceData {
        let [train, test] = [&self.train, &self.test].map(DeviceImages::shallow_clone);
        DeviceData { train, test, moments: self.moments.clone() }
    }
}
