/* So many at once: slots over threads, the queue's order, and how requests come to have one. */
#include "auth_stage.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "filter/concurrency.h"

static struct slots *make_slots(struct registry *registry, unsigned int max)
{
	struct slots *slots;

	assert_int_equal(slots_acquire(registry, STR("p"), max, &slots), 0);
	return slots;
}

static struct loop *make_loop(void)
{
	const struct loop_config config = {.engine = IO_ENGINE_EPOLL,
					   .recv_buf_bytes = 4096,
					   .recv_bufs_ready = 16,
					   .recv_bufs_max = 64};
	struct error err = {0};
	struct loop *loop;

	assert_int_equal(loop_new(&config, &loop, &err), 0);
	return loop;
}

static void assert_usage(const struct slots *slots, unsigned int held, unsigned int waiting)
{
	uint64_t now_held, now_waiting;

	slots_get_usage(slots, &now_held, &now_waiting);
	assert_int_equal(now_held, held);
	assert_int_equal(now_waiting, waiting);
}

/* ---- the queue ---- */

static char order[16];

static void note(void *arg)
{
	size_t len = strlen(order);

	order[len] = *(const char *)arg;
	order[len + 1] = '\0';
}

static void test_who_has_waited_longest_is_next_and_who_left_is_not(void **state)
{
	static char names[] = "abcd";
	struct registry *registry = registry_new();
	struct slots *slots = make_slots(registry, 2);
	struct loop *loop = make_loop();
	struct slots_waiter *waiters[4];

	order[0] = '\0';
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(slots_take(slots, 3, NULL, NULL), SLOTS_TAKEN);
	for (unsigned int i = 0; i < 4; i++) {
		const struct slots_owner owner = {loop, note, &names[i]};

		assert_int_equal(slots_take(slots, 3, &owner, &waiters[i]),
				 i < 3 ? SLOTS_WAITS : SLOTS_FULL);
	}
	assert_usage(slots, 2, 3);
	assert_true(slots_withdraw(slots, waiters[1]));
	assert_usage(slots, 2, 2);
	slots_give_back(slots);
	assert_usage(slots, 2, 1);
	assert_string_equal(order, "");
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_string_equal(order, "a");
	/* It leaves when its turn has come already. */
	slots_give_back(slots);
	assert_false(slots_withdraw(slots, waiters[2]));
	slots_disown(waiters[2]);
	assert_usage(slots, 2, 0);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_string_equal(order, "a");
	assert_usage(slots, 1, 0);
	slots_give_back(slots);
	assert_usage(slots, 0, 0);
	slots_unref(slots);
	registry_free(registry);
	loop_free(loop);
}

static void test_another_max_holds_at_once_and_lets_those_in_who_wait(void **state)
{
	static char name = 'a';
	struct registry *registry = registry_new();
	struct slots *slots = make_slots(registry, 1), *again;
	struct loop *loop = make_loop();
	const struct slots_owner owner = {loop, note, &name};
	struct slots_waiter *waiters[4];

	order[0] = '\0';
	assert_int_equal(slots_take(slots, 9, &owner, &waiters[0]), SLOTS_TAKEN);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(slots_take(slots, 9, &owner, &waiters[i]), SLOTS_WAITS);
	again = make_slots(registry, 4);
	assert_ptr_equal(again, slots);
	assert_usage(slots, 4, 1);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_string_equal(order, "aaa");
	slots_unref(again);
	again = make_slots(registry, 2);
	slots_give_back(slots);
	slots_give_back(slots);
	assert_usage(slots, 2, 1);
	slots_give_back(slots);
	assert_usage(slots, 2, 0);
	assert_int_equal(loop_run_once(loop, 0), 0);
	slots_give_back(slots);
	slots_give_back(slots);
	slots_unref(again);
	slots_unref(slots);
	registry_free(registry);
	loop_free(loop);
}

#define THREADS 4
#define JOBS	20000
#define AT_ONCE 3

/* Threads take and give back as fast as they can; each has a few jobs under way. */
struct crowd {
	struct slots *slots;
	atomic_uint at_once, worst, done, refused;
};

struct worker {
	struct crowd *crowd;
	struct loop *loop;
	unsigned int left, under_way;
};

static void job(void *arg)
{
	struct worker *worker = arg;
	struct crowd *crowd = worker->crowd;
	unsigned int now = atomic_fetch_add(&crowd->at_once, 1) + 1;
	unsigned int worst = atomic_load(&crowd->worst);

	while (now > worst && !atomic_compare_exchange_weak(&crowd->worst, &worst, now))
		;
	atomic_fetch_sub(&crowd->at_once, 1);
	slots_give_back(crowd->slots);
	atomic_fetch_add(&crowd->done, 1);
	worker->under_way--;
}

static void work(struct worker *worker)
{
	const struct slots_owner owner = {worker->loop, job, worker};
	struct slots_waiter *waiter;

	while (worker->left && worker->under_way < 5) {
		worker->left--;
		worker->under_way++;
		switch (slots_take(worker->crowd->slots, 10, &owner, &waiter)) {
		case SLOTS_TAKEN:
			job(worker);
			break;
		case SLOTS_WAITS:
			/* Some lose patience. */
			if (worker->left % 7 || !slots_withdraw(worker->crowd->slots, waiter))
				break;
			atomic_fetch_add(&worker->crowd->refused, 1);
			worker->under_way--;
			break;
		default:
			atomic_fetch_add(&worker->crowd->refused, 1);
			worker->under_way--;
			break;
		}
	}
}

static void *push(void *arg)
{
	struct worker *worker = arg;

	worker->loop = make_loop();
	/* A wake-up that is lost ends this in a time-out of the test's, not in a number. */
	while (worker->left || worker->under_way) {
		work(worker);
		assert_int_equal(loop_run_once(worker->loop, worker->under_way ? 20000 : 0), 0);
	}
	return NULL;
}

static void test_threads_are_never_more_at_once_and_none_is_forgotten(void **state)
{
	struct registry *registry = registry_new();
	struct crowd crowd = {.slots = make_slots(registry, AT_ONCE)};
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.crowd = &crowd, .left = JOBS};
		assert_int_equal(pthread_create(&threads[i], NULL, push, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (unsigned int i = 0; i < THREADS; i++)
		loop_free(workers[i].loop);
	assert_int_equal(crowd.done + crowd.refused, THREADS * JOBS);
	assert_in_range(crowd.worst, 1, AT_ONCE);
	assert_usage(crowd.slots, 0, 0);
	slots_unref(crowd.slots);
	registry_free(registry);
}

/* ---- the policy ---- */

static struct slots *slots_of(const struct auth_stage *stage)
{
	return ((const struct concurrency *)stage->list[0]->conf)->slots;
}

static void test_request_has_its_slot_until_it_is_over(void **state)
{
	struct auth_stage stage;

	auth_stage_begin(&stage, "{ name: p, concurrency: { max: 1 } }");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
	assert_usage(slots_of(&stage), 1, 0);
	exchange_fixture_end(stage.fixture);
	assert_usage(slots_of(&stage), 0, 0);
	assert_int_equal(slots_take(slots_of(&stage), 0, NULL, NULL), SLOTS_TAKEN);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 503);
	assert_string_equal(stage.fixture->added, "retry-after: 1\n");
	assert_string_equal(auth_stage_reason(&stage),
			    "too many requests at once: policy 'p': 1 are under way, 0 wait");
	assert_int_equal(policy_stats_sum(stage.list[0]->stats, REFUSAL_LIMITED), 1);
	exchange_fixture_end(stage.fixture);
	assert_usage(slots_of(&stage), 1, 0);
	auth_stage_end(&stage);
}

static void test_request_waits_for_its_turn_and_goes_on(void **state)
{
	struct auth_stage stage;

	auth_stage_begin(&stage, "{ name: p, concurrency: { max: 1, queue: 1, wait: 1m } }");
	assert_int_equal(slots_take(slots_of(&stage), 0, NULL, NULL), SLOTS_TAKEN);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 0);
	assert_usage(slots_of(&stage), 1, 1);
	/* Whoever resumes it for another reason changes nothing. */
	exchange_policy_resume(stage.fixture->exchange, stage.fixture->exchange->policy_states[0]);
	assert_int_equal(stage.fixture->status, 0);
	slots_give_back(slots_of(&stage));
	assert_int_equal(loop_run_once(stage.fixture->loop, 0), 0);
	assert_int_equal(stage.fixture->status, 200);
	assert_usage(slots_of(&stage), 1, 0);
	exchange_fixture_end(stage.fixture);
	assert_usage(slots_of(&stage), 0, 0);
	auth_stage_end(&stage);
}

static void test_request_that_waits_too_long_is_refused(void **state)
{
	struct auth_stage stage;

	auth_stage_begin(&stage, "{ name: p, concurrency: { max: 1, queue: 1, wait: 20ms } }");
	assert_int_equal(slots_take(slots_of(&stage), 0, NULL, NULL), SLOTS_TAKEN);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 0);
	while (!stage.fixture->status)
		assert_int_equal(loop_run_once(stage.fixture->loop, 1000), 0);
	assert_int_equal(stage.fixture->status, 503);
	assert_string_equal(auth_stage_reason(&stage),
			    "too many requests at once: policy 'p': 1 are under way, and none "
			    "ended in time; 1 may wait");
	assert_usage(slots_of(&stage), 1, 0);
	exchange_fixture_end(stage.fixture);
	assert_usage(slots_of(&stage), 1, 0);
	auth_stage_end(&stage);
}

static void test_client_that_leaves_gives_up_its_place_or_its_slot(void **state)
{
	struct auth_stage stage;

	auth_stage_begin(&stage, "{ name: p, concurrency: { max: 1, queue: 1, wait: 1m } }");
	assert_int_equal(slots_take(slots_of(&stage), 0, NULL, NULL), SLOTS_TAKEN);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 0);
	exchange_fixture_end(stage.fixture);
	assert_usage(slots_of(&stage), 1, 0);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 0);
	slots_give_back(slots_of(&stage));
	exchange_fixture_end(stage.fixture);
	assert_usage(slots_of(&stage), 1, 0);
	assert_int_equal(loop_run_once(stage.fixture->loop, 0), 0);
	assert_usage(slots_of(&stage), 0, 0);
	auth_stage_end(&stage);
}

static void test_without_memory_for_a_place_it_is_refused(void **state)
{
	struct registry *registry = registry_new();
	struct slots *slots = make_slots(registry, 1);
	struct slots_waiter *waiter;
	const struct slots_owner owner = {NULL, note, NULL};
	enum slots_verdict verdict;

	assert_int_equal(slots_take(slots, 1, &owner, &waiter), SLOTS_TAKEN);
	alloc_fail_arm(0);
	verdict = slots_take(slots, 1, &owner, &waiter);
	assert_true(alloc_fail_disarm());
	assert_int_equal(verdict, SLOTS_NO_MEMORY);
	assert_usage(slots, 1, 0);
	slots_give_back(slots);
	slots_unref(slots);
	registry_free(registry);
}

static int acquire_once(void *arg)
{
	struct registry *registry = registry_new();
	struct slots *slots = NULL;
	int r = registry ? slots_acquire(registry, STR("p"), 1, &slots) : -ENOMEM;

	slots_unref(slots);
	if (registry)
		registry_free(registry);
	return r;
}

static void test_slots_without_memory_are_an_error(void **state)
{
	assert_in_range(test_failing_each_allocation(acquire_once, NULL), 2, 10);
}

static void test_what_is_no_bound_is_told(void **state)
{
	static const struct {
		const char *policy, *error;
	} refused[] = {
		{"concurrency: {}", "policy 'p': concurrency: 'max' is required"},
		{"concurrency: { max: 0 }", "concurrency: max: must be 1 to 1000000, got '0'"},
		{"concurrency: { max: 1, queue: -1 }", "concurrency: queue: expected"},
		{"concurrency: { max: 1, wait: 1s }",
		 "concurrency: wait: nobody waits without a 'queue'"},
		{"concurrency: { max: 1, queue: 1, wait: 1ms }", "concurrency: wait: must be"},
		{"concurrency: { max: 1, quue: 1 }",
		 "concurrency: unknown key 'quue'; did you mean 'queue'?"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_policy_refused(refused[i].policy, refused[i].error);
}

static void test_check_shows_what_can_be_read_again(void **state)
{
	struct loaded loaded;
	struct buf out;

	config_load_text(&loaded,
			 CONFIG_HEAD "policies:\n"
				     "  - { name: a, concurrency: { max: 5 } }\n"
				     "  - { name: b, concurrency: { max: 5, queue: 7 } }\n",
			 NULL);
	assert_string_equal(loaded.printed.data, "");
	buf_init(&out, 100000);
	assert_int_equal(config_print_effective(loaded.snapshot, &out), 0);
	assert_int_equal(buf_append(&out, str_make("", 1)), 0);
	assert_non_null(strstr(out.data, "    concurrency:\n"
					 "      max: 5\n"
					 "      queue: 0\n"
					 "  - name: b\n"
					 "    concurrency:\n"
					 "      max: 5\n"
					 "      queue: 7\n"
					 "      wait: 1s\n"));
	buf_done(&out);
	loaded_done(&loaded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_has_waited_longest_is_next_and_who_left_is_not),
		cmocka_unit_test(test_another_max_holds_at_once_and_lets_those_in_who_wait),
		cmocka_unit_test(test_threads_are_never_more_at_once_and_none_is_forgotten),
		cmocka_unit_test(test_request_has_its_slot_until_it_is_over),
		cmocka_unit_test(test_request_waits_for_its_turn_and_goes_on),
		cmocka_unit_test(test_request_that_waits_too_long_is_refused),
		cmocka_unit_test(test_client_that_leaves_gives_up_its_place_or_its_slot),
		cmocka_unit_test(test_without_memory_for_a_place_it_is_refused),
		cmocka_unit_test(test_slots_without_memory_are_an_error),
		cmocka_unit_test(test_what_is_no_bound_is_told),
		cmocka_unit_test(test_check_shows_what_can_be_read_again),
	};

	return cmocka_run_group_tests(tests, config_enter_dir, config_leave_dir);
}
