package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"bulkhead/gateway"
	"bulkhead/lab"
)

func speakersLife() Part {
	return Part{Title: "The life of a speaker", Steps: []Step{
		{"stopping, killing and restarting the daemon ends no session and loses no packet", sessionsOutlive},
		{"a speaker killed without graceful restart: its routes are swept, and the session is back by itself", killSpeaker},
		{"a speaker killed with graceful restart declared: no packet is lost", killGracefully},
		{"bulkhead bgp stop ends a session, also over a restart of the daemon, and start brings it back", stopPeer},
	}}
}

// sessionLife is what tells one life of a session from the next: what the router says of it, and how often it ended by our count.
type sessionLife struct {
	lab.Session
	flaps uint32
}

// lives are those of Woodgrove's sessions.
func (w *World) lives(ctx context.Context) ([]sessionLife, error) {
	var lives []sessionLife
	for i, name := range []string{"NY", "SFO"} {
		session, err := w.Site(sites[1+i].name).Speaker.Session(ctx, lab.GatewayCA)
		if err != nil {
			return nil, err
		}
		row, err := w.peer(ctx, "Woodgrove", name)
		if err != nil {
			return nil, err
		}
		lives = append(lives, sessionLife{session, row.Flaps})
	}
	return lives, nil
}

// sameLives insists that no session has ended since.
func (w *World) sameLives(ctx context.Context, before []sessionLife) error {
	after, err := w.lives(ctx)
	if err != nil {
		return err
	}
	for i, is := range after {
		was := before[i]
		if !was.Established || !is.Established || was.flaps != is.flaps || is.Since.Sub(was.Since).Abs() > 2*time.Second {
			return fmt.Errorf("sessions were %+v, and are %+v", before, after)
		}
	}
	return nil
}

func sessionsOutlive(ctx context.Context, w *World) ([]string, error) {
	if _, err := w.converged(ctx); err != nil {
		return nil, err
	}
	before, err := w.lives(ctx)
	if err != nil {
		return nil, err
	}
	result, err := w.disturbed(ctx, calmRate, func() error {
		return errors.Join(w.StopDaemon(ctx), w.StartDaemon(ctx), w.KillDaemon(ctx), w.StartDaemon(ctx))
	})
	if err == nil && result.Lost > 0 {
		err = fmt.Errorf("packets were lost, from %v to %v", result.FirstLost, result.LastLost)
	}
	seen := []string{fmt.Sprintf("SIGTERM, start, SIGKILL, start: %v", result)}
	return seen, errors.Join(err, w.sameLives(ctx, before))
}

// speaker is Woodgrove's, as show bgp has it.
func (w *World) speaker(ctx context.Context) (gateway.BGPRow, error) {
	var rows []gateway.BGPRow
	if err := w.API.Show(ctx, "bgp", &rows); err != nil {
		return gateway.BGPRow{}, err
	}
	i := slices.IndexFunc(rows, func(r gateway.BGPRow) bool { return r.Tenant == "Woodgrove" })
	if i < 0 {
		return gateway.BGPRow{}, errors.New("show bgp has no Woodgrove")
	}
	return rows[i], nil
}

// killed kills Woodgrove's speaker under a flow and waits for its successor, which is another process.
func (w *World) killed(ctx context.Context) (lab.FlowResult, string, error) {
	before, err := w.speaker(ctx)
	if err != nil {
		return lab.FlowResult{}, "", err
	}
	result, err := w.disturbed(ctx, calmRate, func() error {
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill the speaker: %w", err)
		}
		return eventually(ctx, func() error {
			after, err := w.speaker(ctx)
			if err == nil && (after.PID == before.PID || after.State != "running" || after.Established != after.Peers) {
				err = fmt.Errorf("the speaker is %+v", after)
			}
			return err
		})
	})
	return result, fmt.Sprintf("process %d, %d bytes private, killed under %d packets/s: %v", before.PID, before.PrivateBytes,
		calmRate, result), err
}

func killSpeaker(ctx context.Context, w *World) ([]string, error) {
	_, line, err := w.killed(ctx)
	if err != nil {
		return []string{line}, err
	}
	seen, err := w.converged(ctx)
	return append([]string{line}, seen...), err
}

func killGracefully(ctx context.Context, w *World) ([]string, error) {
	undo, err := w.redeclare(ctx, [2]string{"    asn: 65412\n", "    asn: 65412\n    gracefulRestart: {restartTime: 60s}\n"})
	if err != nil {
		return nil, err
	}
	for name, speaks := range map[string]lab.BGP{sites[1].name: newYork(), sites[2].name: sanFrancisco()} {
		speaks.GracefulRestart = time.Minute
		err = errors.Join(err, w.Site(name).Speaker.Load(ctx, speaks))
	}
	if err == nil {
		_, err = w.converged(ctx)
	}
	if err != nil {
		return nil, err
	}
	result, line, err := w.killed(ctx)
	if err == nil && result.Lost > 0 {
		err = errors.New("packets were lost")
	}
	if err != nil {
		return []string{line}, err
	}
	err = errors.Join(undo(), w.Site(sites[1].name).Speaker.Load(ctx, newYork()), w.Site(sites[2].name).Speaker.Load(ctx, sanFrancisco()))
	return []string{line}, err
}

func stopPeer(ctx context.Context, w *World) (seen []string, err error) {
	do := func(verb string) error {
		said, err := w.bulkhead(ctx, "bgp", verb, "SFO")
		seen = append(seen, "bulkhead bgp "+verb+" SFO: "+said)
		return err
	}
	is := func(state string) error {
		line, err := w.peerIs(ctx, "Woodgrove", "SFO", state, func(r gateway.BGPPeerRow) bool { return r.State == state })
		seen = append(seen, line)
		return err
	}
	for _, step := range []func() error{
		func() error { _, err := w.converged(ctx); return err },
		func() error { return do("stop") }, func() error { return is("stopped") },
		func() error { return errors.Join(w.StopDaemon(ctx), w.StartDaemon(ctx)) }, func() error { return is("stopped") },
		func() error { return do("start") }, func() error { return is("established") },
		func() error { _, err := w.converged(ctx); return err },
	} {
		if err := step(); err != nil {
			return seen, err
		}
	}
	return seen, nil
}
