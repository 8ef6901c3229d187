/*
 * Devices, as words at 0xffff0000: the console as SPIM has it, a disk, random numbers,
 * power. docs/machine.md is their manual.
 */
#include "core.h"

#define READY  UINT32_C(1)
#define ENABLE UINT32_C(2)

/* Instructions that a character takes to be sent, or to arrive behind the one before it. */
#define SEND_TIME   100
#define ARRIVE_TIME 100
/* How often the host is asked for input when there was none. */
#define LOOK_TIME 20000

enum {
    RECEIVER_CONTROL = 0x00,
    RECEIVER_DATA = 0x04,
    TRANSMITTER_CONTROL = 0x08,
    TRANSMITTER_DATA = 0x0c,
    DISK_SECTOR_NUMBER = 0x10,
    DISK_ADDRESS = 0x14,
    DISK_COMMAND = 0x18,
    DISK_STATUS = 0x1c,
    DISK_SECTORS = 0x20,
    RANDOM_NUMBER = 0x30,
    POWER = 0x40,
};

enum { DISK_READ = 1, DISK_WRITE = 2, DISK_INTERRUPT = 0x100, DISK_ERROR = 2, DISK_DONE = 4 };

void device_reset(struct machine *m)
{
    m->console = (struct console_device){.transmitter_control = READY, .sent_at = UINT64_MAX};
    m->disk = (struct disk_device){.status = READY};
}

static void interrupts(struct machine *m)
{
    const struct console_device *c = &m->console;
    const uint32_t both = READY | ENABLE;

    cp0_set_interrupt(m, IRQ_RECEIVER, (c->receiver_control & both) == both);
    cp0_set_interrupt(m, IRQ_TRANSMITTER, (c->transmitter_control & both) == both);
    cp0_set_interrupt(m, IRQ_DISK,
                      m->disk.status & DISK_DONE && m->disk.command & DISK_INTERRUPT);
}

/* Asks for a character, unless that was done a moment ago. */
static void receive(struct machine *m)
{
    struct console_device *c = &m->console;

    if (c->receiver_control & READY || machine_now(m) < c->look_at)
        return;
    int byte = console_peek(m);
    if (byte < 0) {
        c->look_at = byte == -1 ? UINT64_MAX : machine_now(m) + LOOK_TIME;
        return;
    }
    console_take(m);
    c->received = (uint8_t)byte;
    c->receiver_control |= READY;
    interrupts(m);
}

static void sent(struct machine *m)
{
    if (m->console.sent_at > machine_now(m))
        return;
    m->console.sent_at = UINT64_MAX;
    m->console.transmitter_control |= READY;
    interrupts(m);
}

void device_check(struct machine *m)
{
    sent(m);
    if (m->console.receiver_control & ENABLE)
        receive(m);
}

uint64_t device_distance(const struct machine *m)
{
    const struct console_device *c = &m->console;
    uint64_t next = c->sent_at;

    if ((c->receiver_control & (READY | ENABLE)) == ENABLE && c->look_at < next)
        next = c->look_at;
    if (next == UINT64_MAX)
        return UINT64_MAX;
    return next > m->executed ? next - m->executed : 0;
}

static uint32_t console_load(struct machine *m, uint32_t reg)
{
    struct console_device *c = &m->console;

    switch (reg) {
    case RECEIVER_CONTROL:
        receive(m);
        return c->receiver_control;
    case RECEIVER_DATA:
        if (c->receiver_control & READY) {
            c->receiver_control &= ~READY;
            c->look_at = machine_now(m) + ARRIVE_TIME;
            interrupts(m);
        }
        return c->received;
    case TRANSMITTER_CONTROL:
        sent(m);
        return c->transmitter_control;
    default:
        return 0;
    }
}

static void console_store(struct machine *m, uint32_t reg, uint32_t value)
{
    struct console_device *c = &m->console;

    if (reg == RECEIVER_CONTROL) {
        c->receiver_control = (c->receiver_control & ~ENABLE) | (value & ENABLE);
    } else if (reg == TRANSMITTER_CONTROL) {
        c->transmitter_control = (c->transmitter_control & ~ENABLE) | (value & ENABLE);
    } else if (reg == TRANSMITTER_DATA) {
        uint8_t byte = (uint8_t)value;
        console_write(m, &byte, 1);
        c->transmitter_control &= ~READY;
        c->sent_at = machine_now(m) + SEND_TIME;
    }
    interrupts(m);
}

/* Carries out a command at once; the memory is a physical address. */
static bool disk_transfer(struct machine *m, uint32_t command)
{
    const struct disk_device *d = &m->disk;
    uint8_t data[DISK_SECTOR];
    struct page *page = memory_page(m, d->address);

    if (page == NULL || d->address % DISK_SECTOR != 0 || !(page->rights & RIGHT_WRITE) ||
        d->sector >= m->host.disk_sectors(m->host.context))
        return false;
    if (command == DISK_READ)
        return m->host.disk_read(m->host.context, d->sector, data) &&
               memory_write_physical(m, d->address, data, sizeof(data));
    memory_read_physical(page, d->address, data, sizeof(data));
    return m->host.disk_write(m->host.context, d->sector, data);
}

static void disk_store(struct machine *m, uint32_t reg, uint32_t value)
{
    struct disk_device *d = &m->disk;

    if (reg == DISK_SECTOR_NUMBER)
        d->sector = value;
    else if (reg == DISK_ADDRESS)
        d->address = value;
    else if (reg == DISK_STATUS)
        d->status &= ~(uint32_t)(DISK_DONE | DISK_ERROR);
    else if (reg == DISK_COMMAND) {
        uint32_t command = value & 0xff;
        d->command = value & DISK_INTERRUPT;
        if (command == DISK_READ || command == DISK_WRITE)
            d->status = READY | DISK_DONE | (disk_transfer(m, command) ? 0 : DISK_ERROR);
    }
    interrupts(m);
}

static uint32_t disk_load(struct machine *m, uint32_t reg)
{
    switch (reg) {
    case DISK_SECTOR_NUMBER:
        return m->disk.sector;
    case DISK_ADDRESS:
        return m->disk.address;
    case DISK_STATUS:
        return m->disk.status;
    case DISK_SECTORS: {
        uint64_t sectors = m->host.disk_sectors(m->host.context);
        return sectors > UINT32_MAX ? UINT32_MAX : (uint32_t)sectors;
    }
    default:
        return m->disk.command;
    }
}

/* The device of a register, or 0. */
static uint32_t device_of(uint32_t reg)
{
    if (reg <= TRANSMITTER_DATA)
        return MACHINE_CONSOLE;
    if (reg >= DISK_SECTOR_NUMBER && reg <= DISK_SECTORS)
        return MACHINE_DISK;
    if (reg == RANDOM_NUMBER)
        return MACHINE_RANDOM;
    return reg == POWER ? MACHINE_POWER : 0;
}

/* The byte of a word at which a smaller access ends, as a shift. */
static unsigned shift_of(const struct machine *m, uint32_t address, unsigned bytes)
{
    unsigned offset = address & 3;

    return bytes >= 4 ? 0 : 8 * (m->big_endian ? 4 - offset - bytes : offset);
}

/* Whether there is a device at the address; sets the fault. */
static bool present(struct machine *m, uint32_t address, unsigned bytes)
{
    if (bytes <= 4 && m->devices & device_of((address & ~UINT32_C(3)) - MACHINE_MMIO))
        return true;
    return fault_address(m, EXC_DBE, address, "there is no device at this address");
}

bool device_load(struct machine *m, uint32_t address, unsigned bytes, uint64_t *value)
{
    uint32_t reg = (address & ~UINT32_C(3)) - MACHINE_MMIO;
    uint32_t word;

    if (!present(m, address, bytes))
        return false;
    m->attention = true;
    switch (device_of(reg)) {
    case MACHINE_CONSOLE:
        word = console_load(m, reg);
        break;
    case MACHINE_DISK:
        word = disk_load(m, reg);
        break;
    case MACHINE_RANDOM:
        word = random_bits(m, RANDOM_DEVICE, 32);
        break;
    default:
        word = 0;
    }
    *value = word >> shift_of(m, address, bytes);
    return true;
}

bool device_store(struct machine *m, uint32_t address, unsigned bytes, uint64_t value)
{
    uint32_t reg = (address & ~UINT32_C(3)) - MACHINE_MMIO;
    uint32_t word = (uint32_t)(value << shift_of(m, address, bytes));

    if (!present(m, address, bytes))
        return false;
    m->attention = true;
    switch (device_of(reg)) {
    case MACHINE_CONSOLE:
        console_store(m, reg, word);
        break;
    case MACHINE_DISK:
        disk_store(m, reg, word);
        break;
    case MACHINE_RANDOM:
        random_seed(m, RANDOM_DEVICE, word);
        break;
    default:
        cpu_stop(m, MACHINE_POWER_OFF, (int32_t)word);
    }
    return true;
}
