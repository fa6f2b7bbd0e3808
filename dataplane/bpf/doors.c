// SPDX-License-Identifier: Apache-2.0
// The two doors of the gateway, in one object because they share their maps.
#include "door1.h"
#include "door2.h"

char apache_license[] SEC("license") = "Apache-2.0";
