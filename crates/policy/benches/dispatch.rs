//! What a decision costs: one request is admitted, started and ended while some others are in flight, with more and more
//! nodes. `cargo bench -p policy` prints nanoseconds for each; what counts is that they do not grow.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use policy::{Admission, Dispatch, Rank, Stage, Wish, WorkerId};

const ROUNDS: u32 = 100_000;
const SAMPLES: u32 = 9;

/// A dispatch whose nodes have one request each, so that none is idle.
fn busy(mut dispatch: Dispatch<()>, workers: usize) -> Dispatch<()> {
    for _ in 0..workers {
        let worker = admit(&mut dispatch);
        dispatch.start(worker, Duration::ZERO);
    }
    dispatch
}

fn own(nodes: usize, workers: usize) -> Dispatch<()> {
    let mut dispatch = Dispatch::new(100, 2);
    for _ in 0..nodes {
        let node = dispatch.add_node();
        for _ in 0..workers {
            dispatch.add_worker(node, 64);
        }
    }
    busy(dispatch, nodes * workers)
}

fn upstreams(nodes: usize) -> Dispatch<()> {
    let mut dispatch = Dispatch::new(100, 2);
    for _ in 0..nodes {
        let (_, worker) = dispatch.add_upstream(1, Rank::Usual, 1024);
        dispatch.resume_worker(Instant::now(), worker);
    }
    busy(dispatch, nodes)
}

fn admit(dispatch: &mut Dispatch<()>) -> WorkerId {
    match dispatch.admit(Wish::default(), || ()) {
        Admission::Go(worker, _) => worker,
        other => unreachable!("{other:?}"),
    }
}

/// The least of several samples: what disturbs makes it only slower.
fn nanoseconds(mut dispatch: Dispatch<()>) -> f64 {
    let sample = |dispatch: &mut Dispatch<()>| {
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let worker = black_box(admit(dispatch));
            dispatch.start(worker, Duration::ZERO);
            dispatch.end(worker, Stage::Started, Duration::ZERO);
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
    };
    (0..SAMPLES).map(|_| sample(&mut dispatch)).fold(f64::INFINITY, f64::min)
}

#[expect(clippy::print_stdout, reason = "it is what a bench is for")]
fn main() {
    for nodes in [1, 10, 100, 1000] {
        println!("{nodes:5} upstreams               {:7.1} ns", nanoseconds(upstreams(nodes)));
        println!("{nodes:5} nodes with 1 worker     {:7.1} ns", nanoseconds(own(nodes, 1)));
    }
    for workers in [5, 25] {
        println!("    1 node  with {workers:2} workers    {:7.1} ns", nanoseconds(own(1, workers)));
        println!("    5 nodes with {workers:2} workers    {:7.1} ns", nanoseconds(own(5, workers)));
    }
}
