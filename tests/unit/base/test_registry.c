#include "test_support.h"

#include <errno.h>
#include <pthread.h>

#include "base/registry.h"

struct thing {
	struct registry_entry entry;
	int value;
	struct registry_entry *other;
};

static unsigned int freed_count;

static void thing_free(struct registry_entry *entry)
{
	struct thing *thing = CONTAINER_OF(entry, struct thing, entry);

	freed_count++;
	registry_unref(thing->other);
}

static int thing_init(struct registry_entry *entry, void *arg)
{
	struct thing *thing = CONTAINER_OF(entry, struct thing, entry);

	thing->value = *(int *)arg;
	return thing->value < 0 ? -EINVAL : 0;
}

static struct thing *acquire(struct registry *registry, const char *name, int value)
{
	return (struct thing *)registry_acquire(registry, "thing", str_from_cstr(name),
						STR("10.0.0.1:80"), sizeof(struct thing),
						thing_init, &value, thing_free);
}

static int registry_start(void **state)
{
	freed_count = 0;
	*state = registry_new();
	return *state ? 0 : -1;
}

static int registry_end(void **state)
{
	registry_free(*state);
	return 0;
}

static void test_same_key_gives_the_same_object_and_its_state(void **state)
{
	struct registry *registry = *state;
	struct thing *first = acquire(registry, "search", 7);

	assert_non_null(first);
	assert_int_equal(first->value, 7);
	first->value = 8;
	assert_ptr_equal(acquire(registry, "search", 1), first);
	assert_int_equal(first->value, 8);
	assert_int_equal(first->entry.refs, 2);
	assert_string_equal(first->entry.name, "search");
	assert_string_equal(first->entry.address, "10.0.0.1:80");
}

static void test_kind_name_and_address_all_tell_objects_apart(void **state)
{
	struct registry *registry = *state;
	struct registry_entry *entry = &acquire(registry, "ab", 1)->entry;

	assert_null(registry_find(registry, "thing", STR("ab"), STR("")));
	assert_null(registry_find(registry, "other", STR("ab"), STR("10.0.0.1:80")));
	assert_null(registry_find(registry, "thing", STR("a"), STR("b10.0.0.1:80")));
	assert_ptr_equal(registry_find(registry, "thing", STR("ab"), STR("10.0.0.1:80")), entry);
}

static void test_object_dies_with_its_last_reference_at_the_next_sweep(void **state)
{
	struct registry *registry = *state;
	struct thing *thing = acquire(registry, "x", 1);

	registry_ref(&thing->entry);
	registry_unref(&thing->entry);
	assert_int_equal(registry_sweep(registry), 0);
	registry_unref(&thing->entry);
	assert_int_equal(freed_count, 0);
	assert_int_equal(registry_sweep(registry), 1);
	assert_int_equal(freed_count, 1);
	assert_null(registry_find(registry, "thing", STR("x"), STR("10.0.0.1:80")));
}

static void test_object_asked_for_again_before_the_sweep_lives_on(void **state)
{
	struct registry *registry = *state;
	struct thing *thing = acquire(registry, "x", 1);

	registry_unref(&thing->entry);
	assert_ptr_equal(acquire(registry, "x", 2), thing);
	assert_int_equal(registry_sweep(registry), 0);
	assert_int_equal(thing->value, 1);
}

static void test_objects_held_by_a_freed_object_go_in_the_same_sweep(void **state)
{
	struct registry *registry = *state;
	struct thing *inner = acquire(registry, "inner", 1);
	struct thing *outer = acquire(registry, "outer", 1);

	outer->other = &inner->entry;
	registry_unref(&outer->entry);
	assert_int_equal(registry_sweep(registry), 2);
	assert_int_equal(freed_count, 2);
}

static void test_failed_init_leaves_no_entry_and_is_not_destroyed(void **state)
{
	struct registry *registry = *state;

	assert_null(acquire(registry, "bad", -1));
	assert_int_equal(freed_count, 0);
	assert_null(registry_find(registry, "thing", STR("bad"), STR("10.0.0.1:80")));
	assert_non_null(acquire(registry, "bad", 1));
}

static int visit_until(struct registry_entry *entry, void *arg)
{
	char *seen = arg;
	size_t len = strlen(seen);

	seen[len] = entry->name[0];
	return entry->name[0] == 'c' ? 42 : 0;
}

static void test_walk_goes_in_order_of_making_and_stops_when_told(void **state)
{
	struct registry *registry = *state;
	char seen[8] = "";

	assert_non_null(acquire(registry, "b", 1));
	assert_non_null(acquire(registry, "a", 1));
	assert_non_null(
		registry_acquire(registry, "other", STR("o"), STR(""), 0, NULL, NULL, NULL));
	assert_int_equal(registry_walk(registry, "thing", visit_until, seen), 0);
	assert_string_equal(seen, "ba");
	memset(seen, 0, sizeof(seen));
	assert_non_null(acquire(registry, "c", 1));
	assert_non_null(acquire(registry, "d", 1));
	assert_int_equal(registry_walk(registry, NULL, visit_until, seen), 42);
	assert_string_equal(seen, "baoc");
}

static void test_thousands_of_objects_are_found_again(void **state)
{
	struct registry *registry = *state;
	struct thing *things[3000];
	char name[16];

	for (int i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		things[i] = acquire(registry, name, i);
		assert_non_null(things[i]);
	}
	for (int i = 0; i < 3000; i += 2)
		registry_unref(&things[i]->entry);
	assert_int_equal(registry_sweep(registry), 1500);
	for (int i = 0; i < 3000; i++) {
		struct registry_entry *found;

		(void)snprintf(name, sizeof(name), "n%d", i);
		found = registry_find(registry, "thing", str_from_cstr(name), STR("10.0.0.1:80"));
		assert_row(name, found == (i & 1 ? &things[i]->entry : NULL));
	}
}

static void *use_and_drop(void *arg)
{
	struct thing *thing = arg;

	for (int i = 0; i < 10000; i++) {
		registry_ref(&thing->entry);
		registry_unref(&thing->entry);
	}
	registry_unref(&thing->entry);
	return NULL;
}

static void test_references_may_be_dropped_by_other_threads(void **state)
{
	struct registry *registry = *state;
	pthread_t threads[2];
	struct thing *thing = acquire(registry, "x", 1);

	registry_ref(&thing->entry);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_and_drop, thing), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(registry_sweep(registry), 1);
}

static int make_registry(void *arg)
{
	struct registry *registry = registry_new();
	int r = registry && acquire(registry, "x", 1) && acquire(registry, "y", 1) ? 0 : -ENOMEM;

	registry_free(registry);
	return r;
}

static void test_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
	/* The table and its buckets, then three pieces for each of two objects. */
	assert_int_equal(test_failing_each_allocation(make_registry, NULL), 2 + 2 * 3);
}

#define with_registry(test) cmocka_unit_test_setup_teardown(test, registry_start, registry_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_registry(test_same_key_gives_the_same_object_and_its_state),
		with_registry(test_kind_name_and_address_all_tell_objects_apart),
		with_registry(test_object_dies_with_its_last_reference_at_the_next_sweep),
		with_registry(test_object_asked_for_again_before_the_sweep_lives_on),
		with_registry(test_objects_held_by_a_freed_object_go_in_the_same_sweep),
		with_registry(test_failed_init_leaves_no_entry_and_is_not_destroyed),
		with_registry(test_walk_goes_in_order_of_making_and_stops_when_told),
		with_registry(test_thousands_of_objects_are_found_again),
		with_registry(test_references_may_be_dropped_by_other_threads),
		cmocka_unit_test(test_failed_allocation_is_reported_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
