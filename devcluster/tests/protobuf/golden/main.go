// Prints objects as Go clients send them, as protobuf and as JSON; in the folder above:
//
//	go run ./golden > ../../src/apiserver/protobuf/golden.txt
//
// A line is base64 of the protobuf body, a space, and the JSON. Each kind is there with every
// field set, with every pointer, list and map set but to zeros, and empty; what a message that
// several kinds have looks like is shown once.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"

	"mesh.io/devcluster/tests/protobuf/roots"
)

// What to fill values with.
type filler struct {
	zeros bool
	count int64
	// Messages that were filled.
	seen map[reflect.Type]bool
}

func (f *filler) special(v reflect.Value) bool {
	n := f.count
	at := time.Unix(1700000000+n, 123456000*(n%2)).UTC()
	var value any
	switch v.Interface().(type) {
	case meta.TypeMeta:
		return true
	case meta.Time:
		value = meta.Time{Time: at}
	case meta.MicroTime:
		value = meta.MicroTime{Time: at}
	case resource.Quantity:
		value = resource.MustParse(fmt.Sprintf("%d00m", n))
	case intstr.IntOrString:
		value = intstr.FromInt32(int32(-n))
		if n%2 == 0 {
			value = intstr.FromString(fmt.Sprintf("%d%%", n))
		}
	case meta.FieldsV1:
		value = meta.FieldsV1{Raw: []byte(`{"f:metadata":{"f:name":{}}}`)}
	case apiextensions.JSON:
		value = apiextensions.JSON{Raw: []byte(fmt.Sprintf(`{"a":[%d,null,"b"]}`, n))}
	default:
		return false
	}
	// Nothing of FieldsV1 and JSON is not JSON.
	if _, raw := v.Type().FieldByName("Raw"); !f.zeros || raw {
		v.Set(reflect.ValueOf(value))
	}
	return true
}

func (f *filler) fill(v reflect.Value) {
	f.count++
	if f.special(v) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Struct:
		f.structure(v)
	case reflect.Slice:
		f.slice(v)
	case reflect.Map:
		element := reflect.New(v.Type().Elem()).Elem()
		f.fill(element)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(fmt.Sprintf("k%d", f.count)).Convert(v.Type().Key()), element)
	default:
		if !f.zeros {
			f.scalar(v)
		}
	}
}

func (f *filler) scalar(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", f.count))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(f.count * f.count * (f.count%3 - 1) * 7)
	case reflect.Float64:
		v.SetFloat(float64(f.count) / 4)
	default:
		panic(v.Type().String())
	}
}

func (f *filler) structure(v reflect.Value) {
	if f.seen[v.Type()] {
		return
	}
	f.seen[v.Type()] = !strings.HasPrefix(v.Type().Name(), "JSONSchemaPropsOr")
	for i := range v.NumField() {
		// Of a union only one may be set: here what is not a schema, if anything.
		if strings.HasPrefix(v.Type().Name(), "JSONSchemaPropsOr") && i == 0 && f.count%2 == 0 {
			continue
		}
		f.fill(v.Field(i))
	}
}

func (f *filler) slice(v reflect.Value) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		// Not nil: the JSON of a map would say null for it.
		v.SetBytes([]byte{})
		if !f.zeros {
			v.SetBytes([]byte{0, 255, byte(f.count)})
		}
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 2, 2))
	f.fill(v.Index(0))
	f.fill(v.Index(1))
}

func show(version string, object runtime.Object) {
	kind := reflect.TypeOf(object).Elem().Name()
	parts := strings.Split(version, "/")
	gvk := schema.GroupVersionKind{Version: parts[len(parts)-1], Kind: kind}
	if len(parts) == 2 {
		gvk.Group = parts[0]
	}
	object.GetObjectKind().SetGroupVersionKind(gvk)
	var body bytes.Buffer
	if err := protobuf.NewSerializer(nil, nil).Encode(object, &body); err != nil {
		panic(err)
	}
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", base64.StdEncoding.EncodeToString(body.Bytes()), text)
}

func main() {
	var versions []string
	for version := range roots.Kinds {
		versions = append(versions, version)
	}
	slices.Sort(versions)
	fillers := []*filler{
		{seen: map[reflect.Type]bool{}}, {zeros: true, seen: map[reflect.Type]bool{}}, nil,
	}
	for _, version := range versions {
		for _, object := range roots.Kinds[version] {
			for _, filler := range fillers {
				object := reflect.New(reflect.TypeOf(object).Elem())
				if filler != nil {
					filler.fill(object.Elem())
				}
				show(version, object.Interface().(runtime.Object))
			}
		}
	}
}
