/* Quicksort and heapsort of the same pseudo-random numbers, with many equal ones among them. */
#include "crt.h"

#define N 600

static void swap(int32_t *a, int32_t *b)
{
    int32_t kept = *a;

    *a = *b;
    *b = kept;
}

static void quicksort(int32_t *list, int n)
{
    while (n > 1) {
        int32_t pivot = list[n / 2];
        int i = 0, j = n - 1;
        while (i <= j) {
            while (list[i] < pivot)
                i++;
            while (list[j] > pivot)
                j--;
            if (i <= j)
                swap(&list[i++], &list[j--]);
        }
        quicksort(list, j + 1);
        list += i;
        n -= i;
    }
}

static void sift(int32_t *heap, int root, int n)
{
    for (;;) {
        int child = 2 * root + 1;
        if (child >= n)
            return;
        if (child + 1 < n && heap[child + 1] > heap[child])
            child++;
        if (heap[root] >= heap[child])
            return;
        swap(&heap[root], &heap[child]);
        root = child;
    }
}

static void heapsort_numbers(int32_t *list, int n)
{
    for (int i = n / 2 - 1; i >= 0; i--)
        sift(list, i, n);
    for (int i = n - 1; i > 0; i--) {
        swap(&list[0], &list[i]);
        sift(list, 0, i);
    }
}

static int32_t left[N], right[N];

int main(void)
{
    uint32_t digest = 0;
    int wrong = 0;

    for (int i = 0; i < N; i++)
        left[i] = right[i] = (int32_t)next_random() >> (i % 4 == 0 ? 26 : 0);
    quicksort(left, N);
    heapsort_numbers(right, N);
    for (int i = 0; i < N; i++) {
        wrong += left[i] != right[i] || (i > 0 && left[i - 1] > left[i]);
        digest = mix(digest, (uint32_t)left[i]);
    }
    for (int i = 0; i < N; i += N / 8) {
        put_int(left[i]);
        put_text("\n");
    }
    say("digest", digest);
    say("wrong", (uint32_t)wrong);
    return wrong != 0;
}
