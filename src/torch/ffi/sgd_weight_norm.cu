// One step of SGD on a stack of weight-normalised layers w = g·v/‖v‖ (Salimans & Kingma 2016), fused:
// the backward pass of weight norm (eq. 3), the update of v, g and b, and the new w and ‖v‖.
//
// A block updates one unit, a row of v. NVRTC compiles it, with BF16 for w and dw in that type; a test
// runs it on a CPU. Sums are taken in an order that depends on the sizes alone.

#ifdef BF16
typedef unsigned short Product; // the upper half of a float

__device__ float widened(Product x) { return __uint_as_float(static_cast<unsigned>(x) << 16); }

// To nearest, ties to even; a NaN stays one.
__device__ Product rounded(float x) {
  unsigned bits = __float_as_uint(x);
  if (x != x) return static_cast<Product>(bits >> 16 | 0x40);
  return static_cast<Product>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#else
typedef float Product;

__device__ float widened(Product x) { return x; }
__device__ Product rounded(float x) { return x; }
#endif

struct Layers {
  float *v, *v_momentum; // [member, unit, input, position]
  float *g, *g_momentum, *b, *b_momentum, *norms; // [member, unit]
  // As v, or [member, unit, position, input] where they are channels last.
  Product *w;
  const Product *dw;
  const float *db;   // [member, unit]
  const float *lr, *momentum, *weight_decay; // [member]; weight_decay may be null
  int units, inputs, positions;
  int w_channels_last, dw_channels_last;
};

struct Rule {
  float lr, momentum, weight_decay;

  __device__ float update(float p, float gradient, float *buffer) const {
    *buffer = momentum * *buffer + (gradient + weight_decay * p);
    return p - lr * *buffer;
  }
};

// The sum of every thread's x, in every thread.
__device__ float block_sum(float x) {
  __shared__ float warps[32];
  int lane = threadIdx.x % 32;
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffff, x, offset);
  __syncthreads(); // the last sum has been read
  if (lane == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  x = lane < blockDim.x / 32 ? warps[lane] : 0;
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffff, x, offset);
  return x;
}

extern "C" __global__ void sgd_weight_norm(Layers all) {
  int unit = blockIdx.x, member = unit / all.units;
  int size = all.inputs * all.positions;
  long long first = static_cast<long long>(unit) * size;
  float *v = all.v + first, *v_momentum = all.v_momentum + first;
  Product *w = all.w + first;
  const Product *dw = all.dw + first;
  Rule rule{all.lr[member], all.momentum[member],
            all.weight_decay ? all.weight_decay[member] : 0};
  auto place = [&](int i, int channels_last) {
    return channels_last ? i % all.positions * all.inputs + i / all.positions : i;
  };

  float norm = all.norms[unit], g = all.g[unit], g_momentum = all.g_momentum[unit];
  float along = 0;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    along += widened(dw[place(i, all.dw_channels_last)]) * v[i];
  }
  float dg = block_sum(along) / norm;
  float of_dw = g / norm, of_v = g * dg / (norm * norm);

  float square = 0;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    float dv = of_dw * widened(dw[place(i, all.dw_channels_last)]) - of_v * v[i];
    float updated = rule.update(v[i], dv, &v_momentum[i]);
    v[i] = updated;
    square += updated * updated;
  }
  norm = sqrtf(block_sum(square));
  g = rule.update(g, dg, &g_momentum);
  float scale = g / norm;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    w[place(i, all.w_channels_last)] = rounded(scale * v[i]);
  }

  if (threadIdx.x == 0) {
    all.g[unit] = g;
    all.g_momentum[unit] = g_momentum;
    all.norms[unit] = norm;
    all.b[unit] = rule.update(all.b[unit], all.db[unit], &all.b_momentum[unit]);
  }
}
