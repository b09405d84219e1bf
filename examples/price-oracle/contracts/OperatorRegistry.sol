// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

import {BN254} from "./BN254.sol";
import {History} from "./History.sol";
import {Owned} from "./Owned.sol";
import {Quorums} from "./Quorums.sol";

/// @title Operators of one AVS: BLS keys, stakes per quorum, and the check of their aggregated signatures
/// @notice The owner says who may register and how much stake each operator has; operators register their own keys. Every
/// stake and every quorum's aggregate key is kept with its history, so that a signature can be checked against a past
/// block. An operator is in a quorum while it is registered and has stake in it.
/// @dev A key belongs for ever to the operator that registered it first; stakes are kept per key. An operator that
/// deregistered may come back with the same key or with a new one. For callers of `setStakes` and `deregister`:
/// `eth_estimateGas` runs in the latest block, so right after another change it sees a checkpoint overwritten where the
/// transaction will add one, and estimates too little; give these an explicit gas limit.
contract OperatorRegistry is Owned {
    using History for History.StakeCheckpoint[];
    using History for History.KeyCheckpoint[];

    /// @notice A registered operator and its stakes, in the order of the quorums asked for.
    struct Operator {
        address operator;
        bytes32 id;
        BN254.G1Point pubkeyG1;
        BN254.G2Point pubkeyG2;
        uint96[] stakes;
    }

    /// @notice An aggregated signature: who did not sign, the signers' aggregate key in G2, and the sum of signatures. A
    /// signer of several of the quorums is counted, in both sums, once for each quorum it has stake in.
    struct SignatureParams {
        BN254.G1Point[] nonSignerPubkeys;
        BN254.G2Point apkG2;
        BN254.G1Point sigma;
    }

    struct Key {
        address operator;
        BN254.G1Point g1;
        BN254.G2Point g2;
    }

    /// @notice The owner allows `operator` to register.
    event OperatorAllowed(address indexed operator);
    /// @notice `operator` registered the key whose id is `id`.
    event OperatorRegistered(
        address indexed operator, bytes32 indexed id, BN254.G1Point pubkeyG1, BN254.G2Point pubkeyG2
    );
    /// @notice `operator` left; its stakes are zero from this block on.
    event OperatorDeregistered(address indexed operator, bytes32 indexed id);
    /// @notice The stake of the key `id` in `quorum` is now `stake`.
    event StakeChanged(bytes32 indexed id, uint8 indexed quorum, uint96 stake);

    /// @notice The owner has not allowed this operator.
    error NotAllowed(address operator);
    /// @notice The operator is registered already; it has one key.
    error AlreadyRegistered(address operator);
    /// @notice The operator is not registered.
    error NotRegistered(address operator);
    /// @notice The point at infinity is no key.
    error ZeroPubkey();
    /// @notice A point is not on the curve, or its coordinates are not below the field's modulus.
    error NotOnCurve();
    /// @notice The key belongs to another operator.
    error PubkeyTaken(bytes32 id, address operator);
    /// @notice The proof of possession does not fit this operator and these two keys.
    error InvalidProofOfPossession();
    /// @notice As many stakes as quorums are needed.
    error LengthMismatch(uint256 quorums, uint256 stakes);
    /// @notice The reference block must be in the past.
    error InvalidReferenceBlock(uint32 referenceBlockNumber, uint256 currentBlock);
    /// @notice Nobody had stake in this quorum at the reference block.
    error EmptyQuorum(uint8 quorum);
    /// @notice The non-signers' ids must be strictly ascending.
    error NonSignersNotAscending();
    /// @notice No operator ever registered this non-signer's key.
    error UnknownNonSigner(bytes32 id);
    /// @notice All operators of the quorums are given as non-signers.
    error NoSigners();
    /// @notice The aggregated signature is not one over this digest by exactly these signers.
    error InvalidSignature();

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant DOMAIN_NAME_HASH = keccak256("EigenShiftOperatorRegistry");
    bytes32 private constant DOMAIN_VERSION_HASH = keccak256("1");
    bytes32 private constant REGISTRATION_TYPEHASH = keccak256("PubkeyRegistration(address operator)");

    /// @notice Whether the owner allows this operator to register.
    mapping(address operator => bool) public isAllowed;
    /// @notice The id of the operator's key; zero while it is not registered.
    mapping(address operator => bytes32 id) public operatorId;

    mapping(bytes32 id => Key) private _keys;
    /// @dev The keys of registered operators, in no order; `_position` is the index in it plus 1.
    bytes32[] private _registered;
    mapping(bytes32 id => uint256) private _position;
    /// @dev Bit q is set while the key has stake in quorum q; zero for keys that are not registered.
    mapping(bytes32 id => uint256) private _quorumsOf;

    mapping(bytes32 id => mapping(uint8 quorum => History.StakeCheckpoint[])) private _stakes;
    mapping(uint8 quorum => History.StakeCheckpoint[]) private _totalStakes;
    mapping(uint8 quorum => History.KeyCheckpoint[]) private _apks;

    /// @notice Allows `operators` to register. Stake 0 is what takes an operator out again.
    /// @param operators addresses of operators
    function allow(address[] calldata operators) external onlyOwner {
        for (uint256 i = 0; i < operators.length; i++) {
            isAllowed[operators[i]] = true;
            emit OperatorAllowed(operators[i]);
        }
    }

    /// @notice Registers the caller's BLS key. It has no stake until the owner sets one.
    /// @param signature proof of possession: the signature by this key of `pubkeyRegistrationDigest(caller)`
    /// @param pubkeyG1 the key in G1
    /// @param pubkeyG2 the same key in G2
    function register(
        BN254.G1Point calldata signature,
        BN254.G1Point calldata pubkeyG1,
        BN254.G2Point calldata pubkeyG2
    ) external {
        if (!isAllowed[msg.sender]) revert NotAllowed(msg.sender);
        if (operatorId[msg.sender] != 0) revert AlreadyRegistered(msg.sender);
        if (BN254.isZero(pubkeyG1)) revert ZeroPubkey();
        if (!BN254.isOnCurve(pubkeyG1) || !BN254.isOnCurve(signature)) revert NotOnCurve();
        bytes32 id = _id(pubkeyG1);
        address holder = _keys[id].operator;
        if (holder != address(0) && holder != msg.sender) revert PubkeyTaken(id, holder);

        BN254.G1Point memory message = BN254.hashToG1(pubkeyRegistrationDigest(msg.sender));
        uint256 gamma = uint256(keccak256(abi.encode(signature, pubkeyG1, pubkeyG2, message))) % BN254.R;
        if (!BN254.verify(message, signature, pubkeyG1, pubkeyG2, gamma)) revert InvalidProofOfPossession();

        _keys[id] = Key(msg.sender, pubkeyG1, pubkeyG2);
        operatorId[msg.sender] = id;
        _registered.push(id);
        _position[id] = _registered.length;
        emit OperatorRegistered(msg.sender, id, pubkeyG1, pubkeyG2);
    }

    /// @notice Takes the caller out of the registry and of every quorum, from this block on.
    function deregister() external {
        bytes32 id = _registeredId(msg.sender);
        uint256 quorums = _quorumsOf[id];
        for (uint256 q = 0; quorums >> q != 0; q++) {
            if ((quorums >> q) & 1 == 1) _setStake(id, uint8(q), 0);
        }

        uint256 position = _position[id];
        bytes32 last = _registered[_registered.length - 1];
        _registered[position - 1] = last;
        _position[last] = position;
        _registered.pop();
        delete _position[id];
        delete operatorId[msg.sender];
        emit OperatorDeregistered(msg.sender, id);
    }

    /// @notice Sets a registered operator's stakes, from this block on. Quorums not named keep theirs.
    /// @param operator the operator's address
    /// @param quorums quorum numbers
    /// @param stakes its stake in each of them, in the AVS's own unit; 0 takes it out of the quorum
    function setStakes(address operator, uint8[] calldata quorums, uint96[] calldata stakes) external onlyOwner {
        if (quorums.length != stakes.length) revert LengthMismatch(quorums.length, stakes.length);
        bytes32 id = _registeredId(operator);
        for (uint256 i = 0; i < quorums.length; i++) {
            _setStake(id, quorums[i], stakes[i]);
        }
    }

    /// @notice Whether `operator` is registered now.
    function isRegistered(address operator) external view returns (bool) {
        return operatorId[operator] != 0;
    }

    /// @notice The key with this id and who registered it, also after the operator left.
    /// @param id keccak256 of the key's G1 coordinates, each as 32 bytes, big-endian
    function pubkey(bytes32 id)
        external
        view
        returns (address operator, BN254.G1Point memory pubkeyG1, BN254.G2Point memory pubkeyG2)
    {
        Key storage key = _keys[id];
        return (key.operator, key.g1, key.g2);
    }

    /// @notice The stake of the key `id` in `quorum` at the end of `blockNumber`.
    function stakeAt(bytes32 id, uint8 quorum, uint32 blockNumber) external view returns (uint96) {
        return _stakes[id][quorum].atBlock(blockNumber);
    }

    /// @notice All stake in `quorum` at the end of `blockNumber`.
    function totalStakeAt(uint8 quorum, uint32 blockNumber) external view returns (uint96) {
        return _totalStakes[quorum].atBlock(blockNumber);
    }

    /// @notice The sum of the keys in `quorum` at the end of `blockNumber`.
    function apkAt(uint8 quorum, uint32 blockNumber) external view returns (BN254.G1Point memory) {
        return _apks[quorum].atBlock(blockNumber);
    }

    /// @notice The operators that have stake in any of `quorums` now, ascending by id. For callers off chain, which call it
    /// at the block they want to know.
    /// @param quorums quorum numbers, in any order
    /// @return operators with one stake per quorum asked for
    /// @return totalStakes all stake in each quorum
    /// @return apks the sum of the keys in each quorum
    function operatorState(uint8[] calldata quorums)
        external
        view
        returns (Operator[] memory operators, uint96[] memory totalStakes, BN254.G1Point[] memory apks)
    {
        totalStakes = new uint96[](quorums.length);
        apks = new BN254.G1Point[](quorums.length);
        uint256 wanted = 0;
        for (uint256 i = 0; i < quorums.length; i++) {
            wanted |= 1 << quorums[i];
            totalStakes[i] = _totalStakes[quorums[i]].latest();
            apks[i] = _apks[quorums[i]].latest();
        }
        bytes32[] memory ids = _sortedIds(wanted);
        operators = new Operator[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            operators[i] = _operator(ids[i], quorums);
        }
    }

    /// @notice Checks an aggregated signature against the operators of a past block; reverts unless it is valid. Whether
    /// the signed stake is enough is for the caller to say.
    /// @param digest what was signed; hashed to the curve here
    /// @param quorumNumbers one byte per quorum, strictly ascending
    /// @param referenceBlockNumber the block at whose end stakes and keys count; before the current one
    /// @param params the signature; non-signers strictly ascending by id
    /// @return signedStakes the signers' stake in each quorum
    /// @return totalStakes all stake in each quorum
    function checkSignatures(
        bytes32 digest,
        bytes calldata quorumNumbers,
        uint32 referenceBlockNumber,
        SignatureParams calldata params
    ) external view returns (uint96[] memory signedStakes, uint96[] memory totalStakes) {
        Quorums.check(quorumNumbers);
        if (referenceBlockNumber >= block.number) revert InvalidReferenceBlock(referenceBlockNumber, block.number);
        if (!BN254.isOnCurve(params.sigma)) revert NotOnCurve();

        BN254.G1Point memory apk;
        (totalStakes, apk) = _quorumsAt(quorumNumbers, referenceBlockNumber);
        signedStakes = _copy(totalStakes);
        apk = _takeOff(quorumNumbers, referenceBlockNumber, params.nonSignerPubkeys, signedStakes, apk);
        // Proofs of possession keep a sum of keys from being infinity otherwise. Without this, the empty signature of
        // nobody would pass the pairing.
        if (BN254.isZero(apk)) revert NoSigners();

        uint256 gamma = uint256(keccak256(abi.encode(digest, apk, params.apkG2, params.sigma))) % BN254.R;
        if (!BN254.verify(BN254.hashToG1(digest), params.sigma, apk, params.apkG2, gamma)) revert InvalidSignature();
    }

    /// @notice What the proof of possession of `operator`'s key signs: EIP-712 typed data, bound to this chain and contract.
    /// @param operator the operator's address
    function pubkeyRegistrationDigest(address operator) public view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, DOMAIN_NAME_HASH, DOMAIN_VERSION_HASH, block.chainid, address(this))
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(abi.encode(REGISTRATION_TYPEHASH, operator))));
    }

    function _setStake(bytes32 id, uint8 quorum, uint96 stake) private {
        uint96 before = _stakes[id][quorum].latest();
        if (stake == before) return;
        _stakes[id][quorum].set(stake);
        _totalStakes[quorum].set(_totalStakes[quorum].latest() - before + stake);
        if (before == 0) {
            _quorumsOf[id] |= 1 << quorum;
            _apks[quorum].set(BN254.plus(_apks[quorum].latest(), _keys[id].g1));
        } else if (stake == 0) {
            _quorumsOf[id] &= ~(1 << quorum);
            _apks[quorum].set(BN254.plus(_apks[quorum].latest(), BN254.negate(_keys[id].g1)));
        }
        emit StakeChanged(id, quorum, stake);
    }

    function _registeredId(address operator) private view returns (bytes32 id) {
        id = operatorId[operator];
        if (id == 0) revert NotRegistered(operator);
    }

    /// @dev Ids of the registered keys that have stake in any quorum of the set `wanted`, ascending. Insertion sort: a
    /// view for a few hundred operators at most, called off chain.
    function _sortedIds(uint256 wanted) private view returns (bytes32[] memory ids) {
        ids = new bytes32[](_registered.length);
        uint256 count = 0;
        for (uint256 i = 0; i < _registered.length; i++) {
            bytes32 id = _registered[i];
            if (_quorumsOf[id] & wanted == 0) continue;
            uint256 slot = count++;
            while (slot != 0 && ids[slot - 1] > id) {
                ids[slot] = ids[slot - 1];
                slot--;
            }
            ids[slot] = id;
        }
        assembly ("memory-safe") {
            mstore(ids, count) // shortens the array to what was written
        }
    }

    function _operator(bytes32 id, uint8[] calldata quorums) private view returns (Operator memory) {
        Key storage key = _keys[id];
        uint96[] memory stakes = new uint96[](quorums.length);
        for (uint256 i = 0; i < quorums.length; i++) {
            stakes[i] = _stakes[id][quorums[i]].latest();
        }
        return Operator(key.operator, id, key.g1, key.g2, stakes);
    }

    /// @dev Total stakes, and the sum of the quorums' aggregate keys.
    function _quorumsAt(bytes calldata quorumNumbers, uint32 blockNumber)
        private
        view
        returns (uint96[] memory totalStakes, BN254.G1Point memory apk)
    {
        totalStakes = new uint96[](quorumNumbers.length);
        for (uint256 i = 0; i < quorumNumbers.length; i++) {
            uint8 quorum = uint8(quorumNumbers[i]);
            totalStakes[i] = _totalStakes[quorum].atBlock(blockNumber);
            // In a quorum without stake every threshold is met by nobody.
            if (totalStakes[i] == 0) revert EmptyQuorum(quorum);
            apk = BN254.plus(apk, _apks[quorum].atBlock(blockNumber));
        }
    }

    /// @dev Takes the non-signers' stakes off `stakes`, in place, and returns `apk` without their keys, each as often as the
    /// quorums' sum has it.
    function _takeOff(
        bytes calldata quorumNumbers,
        uint32 blockNumber,
        BN254.G1Point[] calldata nonSigners,
        uint96[] memory stakes,
        BN254.G1Point memory apk
    ) private view returns (BN254.G1Point memory) {
        bytes32 previous = 0;
        for (uint256 i = 0; i < nonSigners.length; i++) {
            bytes32 id = _id(nonSigners[i]);
            if (id <= previous) revert NonSignersNotAscending();
            if (_keys[id].operator == address(0)) revert UnknownNonSigner(id);
            previous = id;
            uint256 times = _takeOffStakes(quorumNumbers, blockNumber, id, stakes);
            if (times != 0) apk = BN254.plus(apk, BN254.negate(_times(nonSigners[i], times)));
        }
        return apk;
    }

    /// @dev Takes one key's stakes off `stakes`, in place; returns in how many of the quorums it had some.
    function _takeOffStakes(bytes calldata quorumNumbers, uint32 blockNumber, bytes32 id, uint96[] memory stakes)
        private
        view
        returns (uint256 times)
    {
        for (uint256 i = 0; i < quorumNumbers.length; i++) {
            uint96 stake = _stakes[id][uint8(quorumNumbers[i])].atBlock(blockNumber);
            if (stake == 0) continue;
            stakes[i] -= stake;
            times++;
        }
    }

    function _copy(uint96[] memory values) private pure returns (uint96[] memory copied) {
        copied = new uint96[](values.length);
        for (uint256 i = 0; i < values.length; i++) {
            copied[i] = values[i];
        }
    }

    function _times(BN254.G1Point memory point, uint256 times) private view returns (BN254.G1Point memory) {
        return times == 1 ? point : BN254.scalar_mul(point, times);
    }

    /// @dev The operator id of EigenLayer. Only canonical points are ever registered, so a key has one id.
    function _id(BN254.G1Point calldata point) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(point.X, point.Y));
    }
}
