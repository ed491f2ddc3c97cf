//! SHA-256 of sixteen messages at once, with AVX-512.
//!
//! In: sixteen chaining states and, for each, the same number of whole 64-byte blocks. Out: the
//! states moved on. One vector holds the same word of sixteen messages, so a processor without SHA
//! instructions hashes several times the bytes of a single stream, and one with them twice as many.
//! FIPS 180-4, section 6.2.2. The vector instructions come through `pulp`, whose tokens prove that
//! the processor has them: nothing here is unsafe.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Lanes;

/// How many messages move together.
pub(super) const WIDTH: usize = 16;

/// Bytes of a SHA-256 block.
pub(super) const BLOCK: usize = 64;

/// The chaining state of one message.
pub(super) type State = [u32; 8];

/// FIPS 180-4, section 5.3.3.
pub(super) const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// FIPS 180-4, section 4.2.2.
#[rustfmt::skip]
const K: [[u32; 16]; 4] = [[
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
], [
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
], [
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
], [
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]];

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::__m512i;

    use pulp::x86::V4;

    use super::{BLOCK, K, State, WIDTH};

    /// Proof that this processor has AVX-512, and the way to use it.
    #[derive(Clone, Copy)]
    pub(in crate::hash) struct Lanes(V4);

    impl Lanes {
        /// `None` on a processor without AVX-512.
        pub(in crate::hash) fn detect() -> Option<Self> {
            V4::try_new().map(Self)
        }

        /// Moves every state on by the whole blocks of its message. All messages must have the same
        /// length, a multiple of 64.
        pub(in crate::hash) fn compress(
            self,
            states: &mut [State; WIDTH],
            messages: &[&[u8]; WIDTH],
        ) {
            let blocks = messages[0].len() / BLOCK;
            assert!(messages.iter().all(|m| m.len() == blocks * BLOCK), "equal whole messages");
            self.0.vectorize(Compress { v: self.0, states, messages, blocks });
        }
    }

    /// The arguments of [`compress`]. A closure would do, but a long one is called, not inlined, and then
    /// every instruction in it is a call too.
    struct Compress<'a> {
        v: V4,
        states: &'a mut [State; WIDTH],
        messages: &'a [&'a [u8]; WIDTH],
        blocks: usize,
    }

    impl pulp::NullaryFnOnce for Compress<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            compress(self.v, self.states, self.messages, self.blocks);
        }
    }

    #[inline(always)]
    fn compress(v: V4, states: &mut [State; WIDTH], messages: &[&[u8]; WIDTH], blocks: usize) {
        let mut state: [__m512i; 8] = std::array::from_fn(|word| {
            let words: [u32; WIDTH] = std::array::from_fn(|lane| states[lane][word]);
            pulp::cast(words)
        });
        for block in 0..blocks {
            let mut w = load(v, messages, block * BLOCK);
            compress_block(v, &mut state, &mut w);
        }
        for (word, vector) in state.into_iter().enumerate() {
            let words: [u32; WIDTH] = pulp::cast(vector);
            for (lane, value) in words.into_iter().enumerate() {
                states[lane][word] = value;
            }
        }
    }

    /// The sixteen message words of one block, one vector a word: load, swap bytes, transpose.
    #[inline(always)]
    fn load(v: V4, messages: &[&[u8]; WIDTH], at: usize) -> [__m512i; 16] {
        const SWAP: [u8; 64] = {
            let mut swap = [0_u8; 64];
            let mut i = 0;
            while i < 64 {
                #[allow(clippy::cast_possible_truncation, reason = "below 64")]
                {
                    swap[i] = ((i & !3) + (3 - (i & 3))) as u8;
                }
                i += 1;
            }
            swap
        };
        let swap: __m512i = pulp::cast(SWAP);
        let f = v.avx512f;
        let rows: [__m512i; 16] = std::array::from_fn(|lane| {
            let mut block = [0_u8; BLOCK];
            block.copy_from_slice(&messages[lane][at..at + BLOCK]);
            v.avx512bw._mm512_shuffle_epi8(pulp::cast(block), swap)
        });
        // 16 × 16 transpose of 32-bit words: pairs, quads, then 128-bit lanes twice.
        let mut a = rows;
        for i in 0..8 {
            a[2 * i] = f._mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
            a[2 * i + 1] = f._mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
        }
        let mut b = a;
        for i in 0..4 {
            b[4 * i] = f._mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 1] = f._mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 2] = f._mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
            b[4 * i + 3] = f._mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
        }
        let mut w = b;
        for c in 0..4 {
            let low = f._mm512_shuffle_i32x4::<0x88>(b[c], b[4 + c]);
            let high = f._mm512_shuffle_i32x4::<0xdd>(b[c], b[4 + c]);
            let low2 = f._mm512_shuffle_i32x4::<0x88>(b[8 + c], b[12 + c]);
            let high2 = f._mm512_shuffle_i32x4::<0xdd>(b[8 + c], b[12 + c]);
            w[c] = f._mm512_shuffle_i32x4::<0x88>(low, low2);
            w[4 + c] = f._mm512_shuffle_i32x4::<0x88>(high, high2);
            w[8 + c] = f._mm512_shuffle_i32x4::<0xdd>(low, low2);
            w[12 + c] = f._mm512_shuffle_i32x4::<0xdd>(high, high2);
        }
        w
    }

    /// Sixteen rounds a turn, written out: with fixed indices the words stay in registers, and nothing
    /// moves from round to round but names.
    #[inline(always)]
    fn compress_block(v: V4, state: &mut [__m512i; 8], w: &mut [__m512i; 16]) {
        let f = v.avx512f;
        let add = |a, b| f._mm512_add_epi32(a, b);
        let [mut a, mut b, mut c, mut d, mut e, mut g, mut h, mut i] = *state;
        // One round on word `$t`. What was `$d` is the next round's fifth variable, what was `$i` its first.
        macro_rules! round {
            ($k:expr, $a:ident $b:ident $c:ident $d:ident $e:ident $g:ident $h:ident $i:ident, $t:literal) => {
                let s1 = f._mm512_ternarylogic_epi32::<0x96>(
                    f._mm512_ror_epi32::<6>($e),
                    f._mm512_ror_epi32::<11>($e),
                    f._mm512_ror_epi32::<25>($e),
                );
                // 0xca: choose, 0xe8: majority.
                let ch = f._mm512_ternarylogic_epi32::<0xca>($e, $g, $h);
                let k = f._mm512_set1_epi32($k[$t].cast_signed());
                let t1 = add(add(add($i, add(w[$t], k)), ch), s1);
                let s0 = f._mm512_ternarylogic_epi32::<0x96>(
                    f._mm512_ror_epi32::<2>($a),
                    f._mm512_ror_epi32::<13>($a),
                    f._mm512_ror_epi32::<22>($a),
                );
                let maj = f._mm512_ternarylogic_epi32::<0xe8>($a, $b, $c);
                $d = add($d, t1);
                $i = add(add(t1, maj), s0);
            };
        }
        macro_rules! sixteen_rounds {
            ($k:expr) => {
                round!($k, a b c d e g h i, 0);
                round!($k, i a b c d e g h, 1);
                round!($k, h i a b c d e g, 2);
                round!($k, g h i a b c d e, 3);
                round!($k, e g h i a b c d, 4);
                round!($k, d e g h i a b c, 5);
                round!($k, c d e g h i a b, 6);
                round!($k, b c d e g h i a, 7);
                round!($k, a b c d e g h i, 8);
                round!($k, i a b c d e g h, 9);
                round!($k, h i a b c d e g, 10);
                round!($k, g h i a b c d e, 11);
                round!($k, e g h i a b c d, 12);
                round!($k, d e g h i a b c, 13);
                round!($k, c d e g h i a b, 14);
                round!($k, b c d e g h i a, 15);
            };
        }
        // The message words sixteen rounds on: FIPS 180-4, section 6.2.2, step 1.
        macro_rules! next_words {
            ($($t:literal)*) => {$(
                let w2 = w[($t + 14) & 15];
                let w15 = w[($t + 1) & 15];
                let s0 = f._mm512_ternarylogic_epi32::<0x96>(
                    f._mm512_ror_epi32::<7>(w15),
                    f._mm512_ror_epi32::<18>(w15),
                    f._mm512_srli_epi32::<3>(w15),
                );
                let s1 = f._mm512_ternarylogic_epi32::<0x96>(
                    f._mm512_ror_epi32::<17>(w2),
                    f._mm512_ror_epi32::<19>(w2),
                    f._mm512_srli_epi32::<10>(w2),
                );
                w[$t] = add(add(w[$t], s0), add(w[($t + 9) & 15], s1));
            )*};
        }
        sixteen_rounds!(K[0]);
        for k in &K[1..] {
            next_words!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            sixteen_rounds!(k);
        }
        for (old, new) in state.iter_mut().zip([a, b, c, d, e, g, h, i]) {
            *old = add(*old, new);
        }
    }
}
