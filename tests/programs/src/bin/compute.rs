//! A compute-heavy kernel: planets in floating point, then primes in integers. Its argument scales the work, 100 by
//! default.

// Vectors are indexed by axis throughout, as in the original.
#![allow(clippy::needless_range_loop)]

const DAYS: f64 = 365.24;
const SOLAR_MASS: f64 = 39.478_417_604_357_43;

#[derive(Clone, Copy)]
struct Body {
    position: [f64; 3],
    velocity: [f64; 3],
    mass: f64,
}

/// The sun and its four largest planets, of the Computer Language Benchmarks Game.
fn bodies() -> [Body; 5] {
    let body = |position, velocity: [f64; 3], mass: f64| Body {
        position,
        velocity: velocity.map(|v| v * DAYS),
        mass: mass * SOLAR_MASS,
    };
    let mut bodies = [
        body([0.0; 3], [0.0; 3], 1.0),
        body(
            [4.841_431_442_464_72, -1.160_320_044_027_428_4, -0.103_622_044_471_123_11],
            [0.001_660_076_642_744_037, 0.007_699_011_184_197_404, -0.000_069_046_001_697_206_3],
            0.000_954_791_938_424_326_6,
        ),
        body(
            [8.343_366_718_244_58, 4.124_798_564_124_305, -0.403_523_417_114_321],
            [-0.002_767_425_107_268_624, 0.004_998_528_012_349_172, 0.000_023_041_729_757_376_393],
            0.000_285_885_980_666_130_8,
        ),
        body(
            [12.894_369_562_139_131, -15.111_151_401_698_631, -0.223_307_578_892_655_73],
            [0.002_964_601_375_647_616, 0.002_378_471_739_594_809_5, -0.000_029_658_956_854_023_756],
            0.000_043_662_440_433_515_63,
        ),
        body(
            [15.379_697_114_850_917, -25.919_314_609_987_964, 0.179_258_772_950_371_18],
            [0.002_680_677_724_903_893_2, 0.001_628_241_700_382_423, -0.000_095_159_225_451_971_59],
            0.000_051_513_890_204_661_145,
        ),
    ];
    for axis in 0..3 {
        let momentum: f64 = bodies.iter().map(|body| body.velocity[axis] * body.mass).sum();
        bodies[0].velocity[axis] = -momentum / SOLAR_MASS;
    }
    bodies
}

fn advance(bodies: &mut [Body; 5], step: f64) {
    for i in 0..bodies.len() {
        for j in i + 1..bodies.len() {
            let mut difference = [0.0; 3];
            let mut square = 0.0;
            for axis in 0..3 {
                difference[axis] = bodies[i].position[axis] - bodies[j].position[axis];
                square += difference[axis] * difference[axis];
            }
            let magnitude = step / (square * square.sqrt());
            let (mass_i, mass_j) = (bodies[i].mass, bodies[j].mass);
            for axis in 0..3 {
                bodies[i].velocity[axis] -= difference[axis] * mass_j * magnitude;
                bodies[j].velocity[axis] += difference[axis] * mass_i * magnitude;
            }
        }
    }
    for body in bodies {
        for axis in 0..3 {
            body.position[axis] += step * body.velocity[axis];
        }
    }
}

fn energy(bodies: &[Body; 5]) -> f64 {
    let mut energy = 0.0;
    for (i, a) in bodies.iter().enumerate() {
        energy += 0.5 * a.mass * a.velocity.iter().map(|v| v * v).sum::<f64>();
        for b in &bodies[i + 1..] {
            let square: f64 = (0..3).map(|axis| (a.position[axis] - b.position[axis]).powi(2)).sum();
            energy -= a.mass * b.mass / square.sqrt();
        }
    }
    energy
}

fn primes_below(limit: usize) -> usize {
    let mut composite = vec![false; limit];
    let mut count = 0;
    for number in 2..limit {
        if !composite[number] {
            count += 1;
            (number * number..limit).step_by(number).for_each(|multiple| composite[multiple] = true);
        }
    }
    count
}

fn main() {
    let scale: usize = std::env::args().nth(1).map_or(100, |scale| scale.parse().expect("the argument is a number"));
    let mut bodies = bodies();
    let before = energy(&bodies);
    for _ in 0..scale * 50_000 {
        advance(&mut bodies, 0.01);
    }
    println!("energy {before:.9} {:.9}", energy(&bodies));
    println!("primes {}", (0..scale.div_ceil(10)).map(|round| primes_below(1_000_000 + round)).sum::<usize>());
}
