;; What `benchmark` measures: a bit of everything that programs do, without end.
(module
  (memory (export "memory") 16)

  ;; A step of a linear congruential generator, mixed.
  (func $next (param $x i64) (result i64)
    (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
    (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 29))))

  (func (export "_start")
    (local $x i64) (local $i i32) (local $address i32) (local $sum f64)
    (loop $forever
      ;; Scattered reads and writes over 512 KiB.
      (local.set $x (call $next (local.get $x)))
      (local.set $address (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0x7fff8)))
      (i64.store (local.get $address) (i64.add (i64.load (local.get $address)) (local.get $x)))
      ;; A sum over 32 neighbours.
      (local.set $i (i32.const 32))
      (loop $row
        (local.set $sum
          (f64.add
            (f64.mul (local.get $sum) (f64.const 0.5))
            (f64.convert_i32_s (i32.load16_s (i32.add (local.get $address) (i32.shl (local.get $i) (i32.const 1)))))))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (br_if $row (local.get $i)))
      ;; A branch that cannot be foreseen.
      (if (i64.eqz (i64.and (local.get $x) (i64.const 3)))
        (then (local.set $x (i64.xor (local.get $x) (i64.reinterpret_f64 (local.get $sum))))))
      (br $forever))))
