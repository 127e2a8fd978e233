//! Tasks run once each, whatever workers do.

use super::*;
use std::collections::HashSet;

#[test]
fn every_task_runs_once_whatever_the_number_of_threads() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads);
        for n_tasks in [0, 1, 2, 7, 100] {
            let counts: Vec<_> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(n_tasks, &|i, thread| {
                assert!(thread < threads);
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, {n_tasks} tasks");
        }
    }
}

#[test]
fn many_short_regions_lose_no_task() {
    let pool = Pool::new(4);
    let sum = AtomicUsize::new(0);
    for _ in 0..20_000 {
        pool.run(3, &|i, _| {
            sum.fetch_add(i + 1, Ordering::Relaxed);
        });
    }
    assert_eq!(sum.into_inner(), 20_000 * 6);
}

#[test]
fn workers_wake_up_from_sleep_and_take_part() {
    let pool = Pool::new(2);
    let threads = Mutex::new(HashSet::new());
    // Both tasks wait for the other to have begun, so one thread alone could not finish the region.
    let begun = AtomicUsize::new(0);
    pool.run(2, &|_, thread| {
        threads.lock().unwrap().insert(thread);
        begun.fetch_add(1, Ordering::SeqCst);
        while begun.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
    });
    assert_eq!(threads.into_inner().unwrap(), HashSet::from([0, 1]));
}

#[test]
fn a_worker_rests_when_it_has_cost_more_than_it_saved() {
    let (ms, now) = (Duration::from_millis, Instant::now());
    let account = |late| Account { credit: 0, resting_until: None, called: true, late };
    // Two workers save half of the caller's two milliseconds each.
    let mut accounts = [account(false), account(true), Account::default()];
    settle(&mut accounts, ms(2), ms(4), now);
    let [quick, late, absent] = accounts;
    assert_eq!((quick.credit, quick.resting_until), (1_000_000, None));
    assert_eq!((late.credit, late.resting_until), (0, Some(now + ms(3) * REST)));
    assert_eq!((absent.credit, absent.resting_until), (0, None));
    // With enough to its credit it goes on, but no credit lasts for ever, and no rest.
    let mut accounts = [Account { credit: MAX_CREDIT, ..account(true) }];
    settle(&mut accounts, ms(2), ms(1), now);
    assert_eq!((accounts[0].credit, accounts[0].resting_until), (MAX_CREDIT - 1_000_000, None));
    (0..100).for_each(|_| settle(&mut accounts, ms(0), ms(1000), now));
    assert_eq!(accounts[0].resting_until, Some(now + MAX_REST));
}

#[test]
fn a_worker_that_rests_is_not_called() {
    let pool = Pool::new(2);
    pool.caller.lock().unwrap().accounts[0].resting_until = Some(Instant::now() + Duration::from_secs(3600));
    pool.run(1000, &|_, thread| assert_eq!(thread, 0));
}

#[test]
fn the_caller_sleeps_until_a_late_worker_has_left() {
    let pool = Pool::new(2);
    let begun = AtomicBool::new(false);
    pool.run(2, &|_, thread| {
        begun.fetch_or(thread == 1, Ordering::SeqCst);
        let done = if thread == 1 { &pool.shared.is_waiting } else { &begun };
        while !done.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    });
    assert!(!pool.shared.is_waiting.load(Ordering::SeqCst));
}

#[test]
fn a_panic_in_a_task_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3);
    let result = catch_unwind(AssertUnwindSafe(|| pool.run(64, &|i, _| assert_ne!(i, 40, "task 40"))));
    assert!(result.is_err());
    let ran = AtomicUsize::new(0);
    pool.run(64, &|_, _| {
        ran.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(ran.into_inner(), 64);
}
