package main

import "context"

// idle is what pods cost that nobody asks for anything: their heartbeat.
func idle(ctx context.Context, o options) (*table, error) {
	t := &table{title: "idle: pods that nobody asks for anything, redis.max_staleness 1s", columns: []column{
		{"pods", 0}, {"connections/pod", 2}, {"commands/s/pod", 2}, {"CPU ms/s", 2}, {"bytes out/s/pod", 0}, {"bytes of a connection", 0}, {"used_memory/pod", 0},
	}}
	for _, n := range o.pods {
		if err := idleStep(ctx, o, n, t); err != nil {
			return nil, err
		}
	}
	t.fit("pods", "CPU ms/s", "")
	return t, nil
}

func idleStep(ctx context.Context, o options, n int, t *table) error {
	r, err := start()
	if err != nil {
		return err
	}
	defer r.close()
	alone, err := r.info(ctx)
	if err != nil {
		return err
	}
	if err := r.join(ctx, n, defaults()); err != nil {
		return err
	}
	s, err := r.during(ctx, func() error { return pause(ctx, o.window) })
	if err != nil {
		return err
	}
	list, err := r.clients(ctx)
	if err != nil {
		return err
	}
	pods, sec := float64(n), s.seconds()
	t.add(pods, (s.to.number("connected_clients")-alone.number("connected_clients"))/pods, s.commands()/sec/pods, s.cpu()/sec*1000,
		s.out()/sec/pods, mean(list, func(c client) float64 { return c.total }),
		(s.to.number("used_memory")-alone.number("used_memory"))/pods)
	return nil
}

// mean of something of each client.
func mean(list []client, of func(client) float64) float64 {
	var sum float64
	for _, c := range list {
		sum += of(c)
	}
	return sum / float64(max(len(list), 1))
}
