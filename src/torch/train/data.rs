//! A data set on a device.

use std::sync::Arc;

use tch::kind::Element;
use tch::{Device, Tensor};

use wninit_core::data::{Data, Images, Loaded, Moments, Pixel, batches};
use wninit_core::job::Job;

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
    /// The labels of `test`.
    pub test_labels: Arc<[i64]>,
}

impl DeviceData {
    pub(super) fn new<P: Pixel + Element>(data: &Data<P>, device: Device) -> DeviceData {
        let train = DeviceImages::new(&data.train, device);
        let (test, labels) = match data.dataset.undivided() {
            Some(_) => (train.shallow_clone(), &data.train.labels),
            None => (DeviceImages::new(&data.test, device), &data.test.labels),
        };
        let test_labels = labels.as_slice().into();
        DeviceData { train, test, moments: Moments::of(&data.train), test_labels }
    }

    /// The share of a job's test images that are of their largest class.
    pub(super) fn largest_class(&self, job: &Job) -> f64 {
        let images = batches::test(job);
        let mut counts = vec![0_u32; job.dataset.classes()];
        images.iter().for_each(|&image| counts[self.test_labels[image as usize] as usize] += 1);
        f64::from(counts.into_iter().max().unwrap_or(0)) / images.len().max(1) as f64
    }

    pub(super) fn of(loaded: &Loaded, device: Device) -> DeviceData {
        match loaded {
            Loaded::Bytes(data) => DeviceData::new(data, device),
            Loaded::Floats(data) => DeviceData::new(data, device),
        }
    }

    pub(super) fn shallow_clone(&self) -> DeviceData {
        let [train, test] = [&self.train, &self.test].map(DeviceImages::shallow_clone);
        let test_labels = Arc::clone(&self.test_labels);
        DeviceData { train, test, moments: self.moments.clone(), test_labels }
    }
}
