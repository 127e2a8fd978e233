//! The bytes of keys and values on the CPU.

use kernels::{Kernels, KvType};
use model::ModelSpec;
use store::{Buffer, Ledger, StoreError};

/// Keys and values of one layer, `[sequences, ctx, width]` each.
struct LayerCache {
    keys: Buffer<u8>,
    values: Buffer<u8>,
    key_bytes: usize,
    value_bytes: usize,
}

/// Keys and values of all layers. Memory that was never written is not yet taken from the system.
pub(crate) struct KvCache {
    kv_type: KvType,
    ctx: usize,
    layers: Vec<LayerCache>,
}

impl KvCache {
    /// Errors: the budget does not hold it.
    pub(crate) fn new(
        spec: &ModelSpec,
        kv_type: KvType,
        ctx: usize,
        max_sequences: usize,
        ledger: &Ledger,
    ) -> Result<KvCache, StoreError> {
        let layer = |l: &model::Layer| {
            let (keys, values) = l.kv_widths();
            let (key_bytes, value_bytes) = (keys * kv_type.bytes(), values * kv_type.bytes());
            let positions = ctx * max_sequences;
            let buffer = |width| Buffer::zeroed(ledger, "KV cache", positions * width);
            Ok(LayerCache { keys: buffer(key_bytes)?, values: buffer(value_bytes)?, key_bytes, value_bytes })
        };
        Ok(KvCache { kv_type, ctx, layers: spec.layers.iter().map(layer).collect::<Result<_, StoreError>>()? })
    }

    /// Bytes of a cache of this shape.
    pub(crate) fn bytes(spec: &ModelSpec, kv_type: KvType, ctx: usize, max_sequences: usize) -> u64 {
        let a_token: usize = spec.layers.iter().map(|l| l.kv_widths()).map(|(k, v)| (k + v) * kv_type.bytes()).sum();
        (a_token * ctx * max_sequences) as u64
    }

    pub(crate) fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// Stores one token's keys and values.
    pub(crate) fn store(
        &mut self,
        kernels: &Kernels,
        layer: usize,
        slot: usize,
        position: usize,
        k: &[f32],
        v: &[f32],
    ) {
        let at = slot * self.ctx + position;
        let layer = &mut self.layers[layer];
        kernels.store_kv(
            self.kv_type,
            k,
            &mut layer.keys.values_mut()[at * layer.key_bytes..(at + 1) * layer.key_bytes],
        );
        kernels.store_kv(
            self.kv_type,
            v,
            &mut layer.values.values_mut()[at * layer.value_bytes..(at + 1) * layer.value_bytes],
        );
    }

    /// A sequence's first `n_positions` keys and values, and the bytes from one position to the next of each.
    pub(crate) fn view(&self, layer: usize, slot: usize, n_positions: usize) -> KvView<'_> {
        let layer = &self.layers[layer];
        let at = slot * self.ctx;
        KvView {
            keys: &layer.keys.values()[at * layer.key_bytes..(at + n_positions) * layer.key_bytes],
            values: &layer.values.values()[at * layer.value_bytes..(at + n_positions) * layer.value_bytes],
            key_bytes: layer.key_bytes,
            value_bytes: layer.value_bytes,
        }
    }
}

/// A run of cached positions of one layer and sequence.
pub(crate) struct KvView<'a> {
    pub(crate) keys: &'a [u8],
    pub(crate) values: &'a [u8],
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
}
