//! Measurements of networks before training ([`signal`], [`curvature`]) and of the libraries'
//! arithmetic ([`conformance`]).

pub mod conformance;
pub mod curvature;
pub mod eigen;
pub mod signal;
