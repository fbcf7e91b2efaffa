package main

import (
	"time"

	pb "broker-sidecar/example/telemetry"
)

// Ids of the event types on the stream.
const (
	loafBaked   = 1
	ovenChecked = 2
)

type loaf struct {
	at     time.Time
	kind   string
	takenS float64
}

func bake(count int, now time.Time) []loaf {
	kinds := []string{"rye", "spelt"}
	loaves := make([]loaf, count)
	for i := range loaves {
		loaves[i] = loaf{at: now.Add(time.Duration(i) * time.Microsecond), kind: kinds[i%2], takenS: float64(i%10) / 10}
	}
	return loaves
}

// defines says what becomes of each event: a counter and a histogram with a log record, and a gauge.
func defines() []*pb.Define {
	return []*pb.Define{
		{
			EventId: loafBaked,
			Name:    "bakery.loaf.baked",
			Fields: []*pb.Field{
				{Name: "kind", Type: pb.FieldType_FIELD_TYPE_STRING, Role: pb.FieldRole_FIELD_ROLE_LABEL},
				{Name: "duration_s", Type: pb.FieldType_FIELD_TYPE_DOUBLE, Role: pb.FieldRole_FIELD_ROLE_MEASURE},
			},
			Instruments: []*pb.Instrument{
				{
					Name: "bakery.loaves", Kind: pb.InstrumentKind_INSTRUMENT_KIND_COUNTER, Unit: "{loaf}",
					Description: "Loaves baked.", Labels: []string{"kind"},
				},
				{
					Name: "bakery.loaf.duration", Kind: pb.InstrumentKind_INSTRUMENT_KIND_HISTOGRAM, Unit: "s",
					Description: "Time that a loaf took.", Labels: []string{"kind"}, Measure: "duration_s",
					Bounds: []float64{0.25, 0.5, 0.75},
				},
			},
			Log: &pb.LogTemplate{Severity: pb.Severity_SEVERITY_INFO, Body: "Loaf baked"},
		},
		{
			EventId: ovenChecked,
			Name:    "bakery.oven.checked",
			Fields: []*pb.Field{
				{Name: "celsius", Type: pb.FieldType_FIELD_TYPE_INT64, Role: pb.FieldRole_FIELD_ROLE_MEASURE},
			},
			Instruments: []*pb.Instrument{
				{
					Name: "bakery.oven.temperature", Kind: pb.InstrumentKind_INSTRUMENT_KIND_GAUGE, Unit: "Cel",
					Description: "Temperature of the oven.", Measure: "celsius",
				},
			},
		},
	}
}

// batch turns loaves into columns, and adds one look at the oven: its place is behind them.
func batch(first uint64, loaves []loaf, celsius int64) *pb.Batch {
	count := uint32(len(loaves))
	base := loaves[0].at.UnixNano()
	last := loaves[len(loaves)-1].at.UnixNano()
	group := &pb.Group{EventId: loafBaked, Count: count, BaseTimeUnixNano: uint64(base)}
	kind, duration := &pb.Column{}, &pb.Column{}
	places := map[string]uint32{}
	for i, each := range loaves {
		group.Offsets = append(group.Offsets, uint32(i))
		group.TimeOffsetsNano = append(group.TimeOffsetsNano, each.at.UnixNano()-base)
		place, known := places[each.kind]
		if !known {
			place = uint32(len(kind.Values))
			places[each.kind] = place
			kind.Values = append(kind.Values, each.kind)
		}
		kind.Indexes = append(kind.Indexes, place)
		duration.Doubles = append(duration.Doubles, each.takenS)
	}
	group.Columns = []*pb.Column{kind, duration}
	oven := &pb.Group{
		EventId: ovenChecked, Count: 1, Offsets: []uint32{count}, BaseTimeUnixNano: uint64(last),
		TimeOffsetsNano: []int64{0}, Columns: []*pb.Column{{Integers: []int64{celsius}}},
	}
	return &pb.Batch{FirstSequence: first, Count: count + 1, Groups: []*pb.Group{group, oven}}
}
