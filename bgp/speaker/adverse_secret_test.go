package speaker_test

import (
	"context"
	"testing"

	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"
)

// A session goes with the password that it came up by: another one ends it, none does too, and what is declared then is
// what counts.
func TestAnotherPasswordEndsASession(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	want := config(all)
	want.Peers[0].Password = "first"
	r := start(t, want)
	options := s.options()
	options.Password = "first"
	peer := establish(t, options)

	second := config(all)
	second.Peers[0].Password = "second"
	if err := r.Set(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	over(t, peer)
	if one, err := rawpeer.Dial(context.Background(), options); err == nil {
		one.Close()
		t.Error("the first password still connects")
	}
	options.Password = "second"
	peer = establish(t, options)

	if err := r.Set(t.Context(), config(all)); err != nil {
		t.Fatal(err)
	}
	over(t, peer)
	establish(t, s.options())
}

// What the speaker dials is signed as well.
func TestTheSpeakersOwnCallIsSignedToo(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	want := config(all)
	want.Peers[0].Password, want.Peers[0].Passive = "secret", false
	options := s.options()
	options.Password = "secret"
	listener, err := rawpeer.Await(options)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	r := start(t, want)
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if err := peer.Establish(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the signature is on", func() bool { return r.peer(t, s.name).MD5 == "on" })
}
