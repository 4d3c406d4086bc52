//! A data set on a device.

use tch::{Device, Tensor};

use wninit_core::data::{Data, Images, Moments};

/// Images and labels on a device.
pub struct DeviceImages {
    /// Bytes `[image, channel, height, width]`.
    pub pixels: Tensor,
    /// Class indices `[image]`, 64-bit integers.
    pub labels: Tensor,
}

impl DeviceImages {
    fn new(images: &Images, device: Device) -> DeviceImages {
        let [c, h, w] = images.shape.map(|size| size as i64);
        let pixels = Tensor::from_slice(&images.pixels).view([-1, c, h, w]);
        let labels = Tensor::from_slice(&images.labels);
        DeviceImages { pixels: pixels.to_device(device), labels: labels.to_device(device) }
    }

    fn shallow_clone(&self) -> DeviceImages {
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
    /// Test images.
    pub test: DeviceImages,
    /// Moments of the training images.
    pub moments: Moments,
}

impl DeviceData {
    pub(super) fn new(data: &Data, device: Device) -> DeviceData {
        let [train, test] = [&data.train, &data.test].map(|i| DeviceImages::new(i, device));
        DeviceData { train, test, moments: Moments::of(&data.train) }
    }

    pub(super) fn shallow_clone(&self) -> DeviceData {
        let [train, test] = [&self.train, &self.test].map(DeviceImages::shallow_clone);
        DeviceData { train, test, moments: self.moments.clone() }
    }
}
