//! Prints the bits of numbers that hardware computes differently where it may: NaNs above all.

use std::hint::black_box;

fn main() {
    let [zero, other_zero] = black_box([0.0f64; 2]);
    let [infinity, other_infinity] = black_box([f64::INFINITY; 2]);
    let odd_nan = black_box(f64::from_bits(0x7ff4_dead_beef_0001));
    for (name, value) in [
        ("0/0", zero / other_zero),
        ("inf-inf", infinity - other_infinity),
        ("sqrt(-1)", black_box(-1.0f64).sqrt()),
        ("0*inf", zero * infinity),
        ("nan+1", odd_nan + 1.0),
        ("nan*2", odd_nan * 2.0),
        ("fma", black_box(0.1f64).mul_add(10.0, -1.0)),
        ("sin", black_box(1e22f64).sin()),
        ("subnormal", black_box(f64::MIN_POSITIVE) / 3.0),
    ] {
        println!("{name} {:016x}", value.to_bits());
    }
    let [single, other] = black_box([0.0f32; 2]);
    println!("0/0 (f32) {:08x}", (single / other).to_bits());
}
