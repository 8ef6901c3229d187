/* Mayfly, the host library: all of its headers. */
#ifndef MAYFLY_H
#define MAYFLY_H

#include <mayfly/attend.h>
#include <mayfly/backend.h>
#include <mayfly/batch.h>
#include <mayfly/error.h>
#include <mayfly/export.h>
#include <mayfly/fault.h>
#include <mayfly/host.h>
#include <mayfly/image.h>
#include <mayfly/map.h>
#include <mayfly/migrate.h>
#include <mayfly/pool.h>
#include <mayfly/sandbox.h>
#include <mayfly/signature.h>
#include <mayfly/snapshot.h>
#include <mayfly/value.h>
#include <mayfly/version.h>

#endif
