#include "http/listener.h"

#include "base/util.h"

bool listener_tuple_matches(const struct steer_tuple *tuple, const struct ip_addr *addr,
			    uint16_t port)
{
	return port >= tuple->port_first && port <= tuple->port_last &&
	       ip_prefix_contains(&tuple->prefix, addr);
}

const struct listener_conf *listener_find(const struct listener_conf *listeners, unsigned int count,
					  const struct ip_addr *local, uint16_t local_port)
{
	const struct listener_conf *best = NULL;
	const struct steer_tuple *best_tuple = NULL;

	for (unsigned int i = 0; i < count; i++) {
		for (unsigned int j = 0; j < listeners[i].tuple_count; j++) {
			const struct steer_tuple *tuple = &listeners[i].tuples[j];

			if (!listener_tuple_matches(tuple, local, local_port))
				continue;
			if (best_tuple &&
			    (tuple->prefix.bits < best_tuple->prefix.bits ||
			     (tuple->prefix.bits == best_tuple->prefix.bits &&
			      tuple->port_last - tuple->port_first >=
				      best_tuple->port_last - best_tuple->port_first)))
				continue;
			best = &listeners[i];
			best_tuple = tuple;
		}
	}
	return best;
}
