//! Trainings that are stopped in a validation or a test and resumed: they equal uninterrupted ones, bit
//! for bit.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::Ordering;

use tch::Device;

use super::replay::{cohort, describe, mlp, resnet};
use super::{EndedMember, MemberProgress, Session};
use crate::models::ModelConfig;
use crate::train::checkpoint;
use crate::train::data::DeviceData;
use crate::train::initial::initial_stack;
use wninit_core::data;
use wninit_core::job::Norm;

fn all(ended: &[EndedMember]) -> Vec<String> {
    ended.iter().map(describe).collect()
}

#[test]
fn an_evaluation_that_was_stopped_is_done_again() {
    let _no_grad = tch::no_grad_guard();
    tch::set_num_threads(1);
    for base in [mlp(), resnet(Norm::Batch)] {
        let cohort = cohort(3, &base);
        let shape = cohort.shape();
        let data = data::load(shape.dataset, Path::new("")).unwrap();
        let data = DeviceData::new(&data, Device::Cpu);
        let start = || {
            let progress = vec![MemberProgress::default(); 3];
            let model = initial_stack(&cohort, &data, Device::Cpu);
            Session::new(&cohort, model, &data, progress, 0, 0)
        };
        let mut whole = start();
        let mut expected = Vec::new();
        while !whole.is_over() {
            expected.extend(whole.advance(&data));
        }
        assert_eq!(expected.len(), 3);

        for through_a_file in [false, true] {
            let resumed = |mut session: Session| {
                session.stop.store(false, Ordering::Relaxed);
                if !through_a_file {
                    return session;
                }
                let dir = tempfile::tempdir().unwrap();
                checkpoint::save(&dir.path().join("a.checkpoint"), &mut session).unwrap();
                let found = checkpoint::scan(dir.path(), |warning| panic!("{warning}")).unwrap();
                let config = ModelConfig::of(&shape, Device::Cpu);
                found[0].resume(&cohort, config, &data).unwrap()
            };
            let (mut session, mut ended) = (start(), Vec::new());
            for epoch in 0..shape.epochs {
                for _ in 1..shape.steps() {
                    ended.extend(session.advance(&data));
                }
                // The step is trained, once, and the validation stops.
                for _ in 0..2 {
                    session.stop.store(true, Ordering::Relaxed);
                    assert!(session.advance(&data).is_empty());
                    assert_eq!((session.epoch, session.step), (epoch, shape.steps()));
                    session = resumed(session);
                    assert_eq!(session.place(), format!("the validation of epoch {}", epoch + 1));
                }
                if epoch + 1 < shape.epochs {
                    assert!(session.advance(&data).is_empty());
                    assert_eq!((session.epoch, session.step), (epoch + 1, 0));
                }
            }
            // The last validation is whole, and the test stops.
            session = tested_later(session, &data);
            session = resumed(session);
            assert_eq!(session.place(), "the test");
            ended.extend(session.advance(&data));
            assert!(session.is_over());
            assert_eq!(all(&ended), all(&expected), "through a file: {through_a_file}");
        }
    }
}

/// Advances a session whose last validation is due, and stops its test.
fn tested_later(mut session: Session, data: &DeviceData) -> Session {
    assert!(session.end_epoch(data).is_empty());
    session.stop.store(true, Ordering::Relaxed);
    assert!(session.advance(data).is_empty());
    assert_eq!((session.epoch, session.step), (session.shape.epochs, 0));
    assert!(!session.is_over());
    session
}
