//! The fused update of weight-normalised layers on a GPU: `sgd_weight_norm.cu`, which `nvrtc.cpp`
//! compiles for the GPU at hand.

use std::ffi::{CStr, c_char};

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::message_of;

unsafe extern "C" {
    fn wninit_sgd_weight_norm(
        source: *const c_char,
        tensors: *const *const C_tensor,
        w_channels_last: bool,
        dw_channels_last: bool,
    ) -> *mut c_char;
}

const SOURCE: &CStr = {
    let source = concat!(include_str!("sgd_weight_norm.cu"), "\0").as_bytes();
    match CStr::from_bytes_with_nul(source) {
        Ok(source) => source,
        Err(_) => panic!("the source has no zero byte"),
    }
};

/// The operands of [`sgd_weight_norm`], all on one GPU, float32 unless said otherwise.
pub(crate) struct Update<'t> {
    /// Direction, `[member, out, …]`, contiguous.
    pub v: &'t Tensor,
    /// Its momentum.
    pub v_momentum: &'t Tensor,
    /// Gain, `[member, out]`.
    pub g: &'t Tensor,
    /// Its momentum.
    pub g_momentum: &'t Tensor,
    /// Bias, `[member, out]`.
    pub b: &'t Tensor,
    /// Its momentum.
    pub b_momentum: &'t Tensor,
    /// `‖v‖`, `[member, out]`.
    pub norms: &'t Tensor,
    /// Effective weight, as v, float32 or bf16, contiguous or channels last.
    pub w: &'t Tensor,
    /// Its gradient, of the same type.
    pub dw: &'t Tensor,
    /// The bias's gradient.
    pub db: &'t Tensor,
    /// Learning rates, `[member]`.
    pub lr: &'t Tensor,
    /// Momentum coefficients, `[member]`.
    pub momentum: &'t Tensor,
    /// Weight decays, `[member]`.
    pub weight_decay: Option<&'t Tensor>,
}

/// Whether `[member, out, in, k, k]` is stored as `[member, out, k, k, in]`; `None` if in another order.
fn channels_last(t: &Tensor) -> Option<bool> {
    if t.is_contiguous() {
        return Some(false);
    }
    (t.dim() == 5 && t.permute([0, 1, 3, 4, 2]).is_contiguous()).then_some(true)
}

/// Updates v, g, b and their momenta, then w and the norms, in one kernel.
///
/// # Errors
/// Why this GPU or this build has no such kernel. Nothing has changed then.
///
/// # Panics
/// If the operands are not what [`Update`] says.
pub(crate) fn sgd_weight_norm(update: &Update) -> Result<(), String> {
    let Update { v, v_momentum, g, g_momentum, b, b_momentum, norms, w, dw, db, .. } = *update;
    let Update { lr, momentum, weight_decay, .. } = *update;
    let (of_v, of_g, of_lr) = (v.size(), g.size(), lr.size());
    assert_eq!((of_g.as_slice(), of_lr.as_slice()), (&of_v[..2], &of_v[..1]), "[member, out, …]");
    let floats = [v, v_momentum, g, g_momentum, b, b_momentum, norms, db, lr, momentum];
    let sizes = [&of_v, &of_v, &of_g, &of_g, &of_g, &of_g, &of_g, &of_g, &of_lr, &of_lr];
    let decays = weight_decay.map(|decay| (decay, &of_lr));
    for (t, size) in floats.into_iter().zip(sizes).chain(decays) {
        assert_eq!(&t.size(), size, "operands of matching shapes");
        assert!(t.kind() == Kind::Float && t.is_contiguous(), "contiguous float32 operands");
        assert_eq!(t.device(), v.device(), "operands on one GPU");
    }
    assert!(matches!(w.kind(), Kind::Float | Kind::BFloat16) && w.kind() == dw.kind());
    assert_eq!((w.device(), dw.device()), (v.device(), v.device()), "operands on one GPU");
    assert_eq!((w.size(), dw.size()), (of_v.clone(), of_v), "a weight for each direction");
    assert!(v.device().is_cuda() && v.numel() < i32::MAX as usize, "a stack on a GPU");
    let w_last = channels_last(w).expect("an effective weight is in one of two layouts");
    let (dw, dw_last) = match channels_last(dw) {
        Some(last) => (dw.shallow_clone(), last),
        None => (dw.contiguous(), false),
    };
    // The order of `Layers` in nvrtc.cpp.
    let operands = [v, v_momentum, g, g_momentum, b, b_momentum, norms, w, &dw, db, lr, momentum];
    let handles: Vec<*const C_tensor> = operands
        .into_iter()
        .map(|t| t.as_ptr())
        .chain([weight_decay.map_or(std::ptr::null(), |t| t.as_ptr())])
        .collect();
    // SAFETY: the source is a C string; the operands are live and were checked.
    message_of(unsafe {
        wninit_sgd_weight_norm(SOURCE.as_ptr(), handles.as_ptr(), w_last, dw_last)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::{CString, c_int, c_void};
    use std::process::Command;

    use tch::Device;

    use super::*;
    use crate::ffi::cuda_graph;

    /// Runs a block of the kernel on as many threads of the CPU.
    const EMULATED: &str = r#"
        #include <barrier>
        #include <cmath>
        #include <cstring>
        #include <thread>
        #include <vector>
        #define __device__
        #define __global__
        #define __shared__ static
        struct Index { int x; };
        static thread_local Index threadIdx, blockIdx;
        static Index blockDim;
        static std::barrier<> *block;
        static float exchanged[1024];
        static void __syncthreads() { block->arrive_and_wait(); }
        static float __shfl_xor_sync(unsigned, float x, int mask) {
            exchanged[threadIdx.x] = x;
            __syncthreads();
            x = exchanged[threadIdx.x ^ mask];
            __syncthreads();
            return x;
        }
        static unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
        static float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
        #include "sgd_weight_norm.cu"
        extern "C" void run(const Layers *layers, int blocks, int threads) {
            std::barrier<> all(threads);
            block = &all;
            blockDim.x = threads;
            std::vector<std::thread> running;
            for (int t = 0; t < threads; t++)
                running.emplace_back([=] {
                    threadIdx.x = t;
                    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
                        sgd_weight_norm(*layers);
                        __syncthreads();
                    }
                });
            for (auto &thread : running) thread.join();
        }"#;

    #[repr(C)]
    struct Layers {
        operands: [*mut c_void; 13],
        sizes: [c_int; 5],
    }

    type Run = unsafe extern "C" fn(*const Layers, c_int, c_int);

    /// The kernel, compiled for this CPU; it stays loaded.
    fn emulated(bf16: bool) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let [source, library] = ["emulated.cpp", "emulated.so"].map(|name| dir.path().join(name));
        std::fs::write(&source, EMULATED).unwrap();
        let mut compiler = Command::new("c++");
        compiler.args(["-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "-w", "-o"]);
        compiler.arg(&library).arg(&source).args(bf16.then_some("-DBF16"));
        compiler.arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/ffi"));
        assert!(compiler.status().unwrap().success());
        let library = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: the library is ours, and `run` has this signature.
        unsafe {
            let library = libc::dlopen(library.as_ptr(), libc::RTLD_NOW);
            assert!(!library.is_null());
            let run = libc::dlsym(library, c"run".as_ptr());
            assert!(!run.is_null());
            std::mem::transmute::<*mut c_void, Run>(run)
        }
    }

    fn last(t: &Tensor) -> Tensor {
        t.permute([0, 1, 3, 4, 2]).contiguous().permute([0, 1, 4, 2, 3])
    }

    /// Updates the operands, in `Update`'s order, as the kernel should, with libtorch's operators in
    /// double precision.
    fn expected(operands: &[Tensor], decayed: bool) -> Vec<Tensor> {
        let double: Vec<Tensor> = operands.iter().map(|t| t.to_kind(Kind::Double)).collect();
        let [v, buf_v, g, buf_g, b, buf_b, norms, _, dw, db, lr, momentum, decay] = &double[..]
        else {
            panic!("13 operands")
        };
        let rows = |t: &Tensor| t.flatten(2, -1);
        let per_unit = |t: &Tensor| t.unsqueeze(-1);
        let dg = (rows(dw) * rows(v)).sum_dim_intlist(2, false, Kind::Double) / norms;
        let dv =
            per_unit(&(g / norms)) * rows(dw) - per_unit(&(g * &dg / norms.square())) * rows(v);
        let step = |p: &Tensor, grad: Tensor, buf: &Tensor| {
            let each = |t: &Tensor| {
                if p.dim() == 2 { t.unsqueeze(1) } else { t.unsqueeze(1).unsqueeze(2) }
            };
            let grad = if decayed { grad + each(decay) * p } else { grad };
            let buf = each(momentum) * buf + grad;
            (p - each(lr) * &buf, buf)
        };
        let (v2, buf_v) = step(&rows(v), dv, &rows(buf_v));
        let (g2, buf_g) = step(g, dg, buf_g);
        let (b2, buf_b) = step(b, db.shallow_clone(), buf_b);
        let norms = v2.square().sum_dim_intlist(2, false, Kind::Double).sqrt();
        let w = per_unit(&(&g2 / &norms)) * &v2;
        let [v2, buf_v, w] = [v2, buf_v, w].map(|t| t.view_as(v));
        vec![v2, buf_v, g2, buf_g, b2, buf_b, norms, w]
    }

    #[test]
    fn the_kernel_computes_what_operators_compute_in_double_precision() {
        tch::manual_seed(11);
        let cpu = (Kind::Float, Device::Cpu);
        for bf16 in [false, true] {
            let run = emulated(bf16);
            let product = |t: Tensor| if bf16 { t.to_kind(Kind::BFloat16) } else { t };
            for (case, [inputs, side]) in [[5, 3], [40, 1], [1, 5], [70, 1]].into_iter().enumerate()
            {
                let random = |size: &[i64]| Tensor::randn(size, cpu);
                let (of_v, of_g) = ([2, 3, inputs, side, side], [2, 3]);
                let norms = random(&of_g).abs() + 1.0;
                let layouts = [case % 2 == 0, case % 3 == 0];
                let laid = |t: Tensor, is_last: bool| if is_last { last(&t) } else { t };
                let operands = [
                    random(&of_v),
                    random(&of_v),
                    random(&of_g),
                    random(&of_g),
                    random(&of_g),
                    random(&of_g),
                    norms,
                    laid(product(random(&of_v)), layouts[0]),
                    laid(product(random(&of_v)), layouts[1]),
                    random(&of_g),
                    Tensor::from_slice(&[0.1_f32, 0.3]),
                    Tensor::from_slice(&[0.9_f32, 0.0]),
                    Tensor::from_slice(&[0.01_f32, 0.2]),
                ];
                let decayed = case != 1;
                let theirs = expected(&operands, decayed);
                let mut pointers = operands.each_ref().map(|t| t.data_ptr());
                if !decayed {
                    pointers[12] = std::ptr::null_mut();
                }
                let [w_last, dw_last] = layouts.map(c_int::from);
                let positions = (side * side) as c_int;
                let sizes = [3, inputs as c_int, positions, w_last, dw_last];
                let layers = Layers { operands: pointers, sizes };
                // SAFETY: the operands are live and of these sizes.
                unsafe { run(&layers, 6, 64) };
                for (i, (ours, theirs)) in operands.iter().zip(&theirs).enumerate() {
                    let off = (ours.to_kind(Kind::Double) - theirs).abs() / (theirs.abs() + 1.0);
                    let off = f64::try_from(off.max()).unwrap();
                    let near = if bf16 && i == 7 { 1.0 / 256.0 } else { 1e-5 };
                    assert!(off < near, "bf16 {bf16}, case {case}, operand {i}: off by {off:e}");
                }
            }
        }
    }

    #[test]
    fn nvrtc_compiles_the_kernel() {
        unsafe extern "C" {
            fn wninit_compile(source: *const c_char, capability: c_int, bf16: bool) -> *mut c_char;
        }
        if !cuda_graph::supported() {
            return; // built without CUDA's headers, and so without NVRTC
        }
        for (capability, bf16) in [(90, false), (90, true), (100, false)] {
            // SAFETY: the source is a C string.
            let compiled = message_of(unsafe { wninit_compile(SOURCE.as_ptr(), capability, bf16) });
            assert_eq!(compiled, Ok(()), "{capability}, bf16 {bf16}");
        }
    }
}
